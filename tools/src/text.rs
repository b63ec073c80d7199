//! Numbers and tables for people.

/// `1.36 MB`: three significant digits, decimal prefixes.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{} {unit}", significant(value)) }
}

/// Three significant digits, for values from 0.001 up.
pub(crate) fn significant(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// `20 018`: digits in groups of three.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `3 files`.
pub(crate) fn plural(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{} {word}s", count(number as u64)) }
}

/// `0.021 s`, `1 min 20 s`.
pub(crate) fn seconds(value: f64) -> String {
    if value < 59.5 {
        return format!("{} s", significant(value));
    }
    let whole = value.round() as u64;
    format!("{} min {} s", whole / 60, whole % 60)
}

/// Columns padded to their widest cell; the first row is the heading. Cells that look like numbers stand at the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let numeric = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit() || "-−–∞".contains(c));
    let right: Vec<bool> =
        (0..columns).map(|c| rows.len() > 1 && rows[1..].iter().filter_map(|r| r.get(c)).all(|s| numeric(s))).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            if column > 0 {
                line.push_str("  ");
            }
            if right[column] {
                line.push_str(&pad);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&pad);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([bytes(0), bytes(999), bytes(1000), bytes(1_361_639)], ["0 B", "999 B", "1.00 kB", "1.36 MB"]);
        assert_eq!([bytes(999_600), bytes(12_345_678_901)], ["1.00 MB", "12.3 GB"]);
        assert_eq!([count(7), count(1234), count(1_234_567)], ["7", "1 234", "1 234 567"]);
        assert_eq!([plural(1, "file"), plural(0, "file")], ["1 file", "0 files"]);
        assert_eq!([seconds(0.0213), seconds(80.0)], ["0.021 s", "1 min 20 s"]);
    }

    #[test]
    fn tables_align() {
        let rows = [vec!["name", "bytes"], vec!["a", "1"], vec!["long", "1000"]];
        let rows: Vec<Vec<String>> = rows.map(|r| r.into_iter().map(str::to_owned).collect()).to_vec();
        assert_eq!(table(&rows), "name  bytes\na         1\nlong   1000\n");
    }
}
