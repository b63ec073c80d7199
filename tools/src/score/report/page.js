"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const STEP = 100;
  const table = document.getElementById("rows");

  // pictures at full width
  const large = document.getElementById("large");
  document.addEventListener("click", event => {
    const three = event.target.closest(".three");
    if (three) {
      large.lastElementChild.replaceChildren(...Array.from(three.children, figure => figure.cloneNode(true)));
      large.showModal();
    } else if (event.target.closest("#large")) {
      large.close();
    }
  });
  if (!table) return;

  const number = value => typeof value === "string" ? Number(value.replace("inf", "Infinity")) : value;
  for (const row of [...data.pairs, ...data.groups]) row.values = row.values.map(number);
  const format = (value, column) =>
    (Number.isFinite(value) ? value.toFixed(column.decimals) : "∞") + (column.unit ? " " + column.unit : "");

  const filter = document.getElementById("filter");
  const more = document.getElementById("more");
  const state = { rows: data.groups.length ? "groups" : "pairs", sort: 0, down: !data.columns[0].higher, shown: STEP };

  // -1 is the name, 0… the measures, the last one of groups the number of pairs
  const key = (row, index) => index < 0 ? row.name : index < data.columns.length ? row.values[index] : row.pairs;
  const compare = (a, b) => {
    const [x, y] = [key(a, state.sort), key(b, state.sort)];
    const order = state.sort < 0 ? x.localeCompare(y, undefined, { numeric: true }) : x < y ? -1 : x > y ? 1 : 0;
    return state.down ? -order : order;
  };

  const cell = (tag, content) => {
    const element = document.createElement(tag);
    element.append(content);
    return element;
  };

  const draw = () => {
    const groups = state.rows === "groups";
    const headings = [["name", -1], ...data.columns.map((column, index) => [column.title, index])];
    if (groups) headings.push(["pairs", data.columns.length]);
    const head = document.createElement("tr");
    for (const [title, index] of headings) {
      const button = cell("button", title);
      button.type = "button";
      button.addEventListener("click", () => {
        const worstUp = index >= 0 && index < data.columns.length && !data.columns[index].higher;
        state.down = state.sort === index ? !state.down : worstUp;
        state.sort = index;
        draw();
      });
      const heading = cell("th", button);
      heading.scope = "col";
      if (index === state.sort) heading.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      head.append(heading);
    }
    table.tHead.replaceChildren(head);

    const wanted = filter.value.trim().toLowerCase();
    const all = data[state.rows];
    const rows = all.filter(row => row.name.toLowerCase().includes(wanted)).sort(compare);
    table.tBodies[0].replaceChildren(...rows.slice(0, state.shown).map(row => {
      const line = document.createElement("tr");
      let name = row.name;
      if (row.rank) {
        name = cell("a", row.name);
        name.href = "#pair-" + row.rank;
      } else if (groups) {
        name = cell("a", row.name);
        name.href = "#all";
        name.addEventListener("click", event => {
          event.preventDefault();
          filter.value = row.name === "." ? "" : row.name + "/";
          choose("pairs");
        });
      }
      line.append(cell("td", name), ...row.values.map((value, index) => cell("td", format(value, data.columns[index]))));
      if (groups) line.append(cell("td", String(row.pairs)));
      return line;
    }));
    const shown = Math.min(state.shown, rows.length);
    document.getElementById("count").textContent =
      rows.length === all.length ? `${shown} of ${all.length}` : `${shown} of ${rows.length}, filtered from ${all.length}`;
    more.hidden = shown === rows.length;
  };

  const choose = rows => {
    Object.assign(state, { rows, shown: STEP });
    if (state.sort >= data.columns.length) state.sort = 0;
    for (const button of document.querySelectorAll(".tabs button")) {
      button.setAttribute("aria-pressed", String(button.dataset.table === rows));
    }
    draw();
  };

  for (const button of document.querySelectorAll(".tabs button")) {
    button.addEventListener("click", () => { filter.value = ""; choose(button.dataset.table); });
  }
  filter.addEventListener("input", () => { state.shown = STEP; draw(); });
  more.addEventListener("click", () => { state.shown += 5 * STEP; draw(); });
  draw();
})();
