//! Files with one row for each pair: CSV and Parquet.
//!
//! Columns: `group`, `name`, `width`, `height`, `pixels` (sum of the mask), one for each measure, `error`. Pairs that failed
//! have no numbers.

use std::{path::Path, sync::Arc};

use gav_formats::{Error, sink::write_file_atomically};
use parquet::{
    basic::{LogicalType, Repetition, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};

use super::{metric::Metric, work::Outcome};
use crate::failure::Failure;

/// Writes `bytes` to `path`, all or nothing.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_file_atomically(path, |sink| Ok(sink.write_all(bytes)?)).map_err(|e| Failure::at(path, &e))
}

/// Comma-separated values (RFC 4180); infinite values are `inf`.
pub(crate) fn csv(metrics: &[Metric], outcome: &Outcome) -> String {
    let quoted = |text: &str| {
        let plain = !text.contains([',', '"', '\n', '\r']);
        if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
    };
    let names: Vec<&str> = metrics.iter().map(|m| m.info().name).collect();
    let mut text = format!("group,name,width,height,pixels,{},error\r\n", names.join(","));
    for row in &outcome.rows {
        let values: Vec<String> = row.values.iter().map(|v| format!("{v}")).collect();
        let (group, name) = (quoted(&row.group), quoted(&row.name));
        text += &format!("{group},{name},{},{},{},{},\r\n", row.width, row.height, row.pixels, values.join(","));
    }
    for fault in &outcome.faults {
        let (group, name, error) = (quoted(&fault.group), quoted(&fault.name), quoted(&fault.failure.message));
        text += &format!("{group},{name},,,,{}{error}\r\n", ",".repeat(metrics.len()));
    }
    text
}

/// The same as Parquet: one row group, uncompressed.
///
/// # Errors
/// Those of the encoder.
pub(crate) fn parquet(metrics: &[Metric], outcome: &Outcome) -> Result<Vec<u8>, Error> {
    encode(metrics, outcome).map_err(|e| Error::usage(format!("parquet: {e}")))
}

fn encode(metrics: &[Metric], outcome: &Outcome) -> Result<Vec<u8>, ParquetError> {
    let field = |name: &str, physical, repetition, logical| {
        let builder = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        builder.with_logical_type(logical).build().map(Arc::new)
    };
    let (must, may) = (Repetition::REQUIRED, Repetition::OPTIONAL);
    let text = || Some(LogicalType::String);
    let mut fields = vec![
        field("group", Physical::BYTE_ARRAY, must, text())?,
        field("name", Physical::BYTE_ARRAY, must, text())?,
        field("width", Physical::INT64, may, None)?,
        field("height", Physical::INT64, may, None)?,
        field("pixels", Physical::DOUBLE, may, None)?,
    ];
    for metric in metrics {
        fields.push(field(metric.info().name, Physical::DOUBLE, may, None)?);
    }
    fields.push(field("error", Physical::BYTE_ARRAY, may, text())?);
    let schema = Arc::new(Type::group_type_builder("scores").with_fields(fields).build()?);

    let (rows, faults) = (&outcome.rows, &outcome.faults);
    let bytes = |text: &String| ByteArray::from(text.as_bytes().to_vec());
    // pairs that were scored have numbers and no error, the others an error and no numbers
    let (scored, failed) = (
        [vec![1i16; rows.len()], vec![0; faults.len()]].concat(),
        [vec![0i16; rows.len()], vec![1; faults.len()]].concat(),
    );
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::default()))?;
    let mut group = writer.next_row_group()?;
    for texts in [
        rows.iter().map(|r| bytes(&r.group)).chain(faults.iter().map(|f| bytes(&f.group))).collect::<Vec<_>>(),
        rows.iter().map(|r| bytes(&r.name)).chain(faults.iter().map(|f| bytes(&f.name))).collect(),
    ] {
        column::<ByteArrayType>(&mut group, &texts, None)?;
    }
    for sizes in
        [rows.iter().map(|r| r.width as i64).collect::<Vec<_>>(), rows.iter().map(|r| r.height as i64).collect()]
    {
        column::<Int64Type>(&mut group, &sizes, Some(&scored))?;
    }
    column::<DoubleType>(&mut group, &rows.iter().map(|r| r.pixels).collect::<Vec<_>>(), Some(&scored))?;
    for index in 0..metrics.len() {
        column::<DoubleType>(&mut group, &rows.iter().map(|r| r.values[index]).collect::<Vec<_>>(), Some(&scored))?;
    }
    let errors: Vec<ByteArray> = faults.iter().map(|f| bytes(&f.failure.message)).collect();
    column::<ByteArrayType>(&mut group, &errors, Some(&failed))?;
    group.close()?;
    writer.into_inner()
}

/// Writes the next column; `levels` says which rows have a value.
fn column<T: parquet::data_type::DataType>(
    group: &mut parquet::file::writer::SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.ok_or_else(|| ParquetError::General("more columns than fields".into()))?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::RowAccessor,
    };

    use super::*;
    use crate::score::work::{Fault, Row};

    fn outcome() -> Outcome {
        let row = Row {
            place: [0, 0],
            name: "a, \"b\"".into(),
            group: "g".into(),
            width: 4,
            height: 3,
            pixels: 12.0,
            values: vec![31.25, f64::INFINITY],
            cached: false,
        };
        let failure = Failure { code: "X", message: "no file\nat all".into(), hint: None };
        Outcome { rows: vec![row], faults: vec![Fault { name: "c".into(), group: String::new(), failure }] }
    }

    #[test]
    fn csv_quotes_what_needs_it_and_leaves_failed_numbers_empty() {
        let text = csv(&[Metric::Mse, Metric::PsnrPerImage], &outcome());
        let expected = "group,name,width,height,pixels,mse,psnr-per-image,error\r\n\
            g,\"a, \"\"b\"\"\",4,3,12,31.25,inf,\r\n,c,,,,,,\"no file\nat all\"\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn parquet_reads_back() {
        let bytes = parquet(&[Metric::Mse, Metric::PsnrPerImage], &outcome()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(file.path()).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].get_string(1).unwrap(), "a, \"b\"");
        assert_eq!((rows[0].get_long(2).unwrap(), rows[0].get_double(5).unwrap()), (4, 31.25));
        assert_eq!(rows[0].get_double(6).unwrap(), f64::INFINITY);
        assert!(rows[1].get_double(5).is_err(), "no number for the pair that failed");
        assert_eq!(rows[1].get_string(7).unwrap(), "no file\nat all");
    }
}
