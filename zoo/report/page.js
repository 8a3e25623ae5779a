/* Sorts tables, hides groups and columns, adds optional columns, and highlights a family; everything is there to be read without it. */
{
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const boxes = (choices, show) => choices.map(([key, words, checked = true]) => {
    const box = make("input", { type: "checkbox", checked });
    if (!checked) show(key, false);
    box.addEventListener("change", () => show(key, box.checked));
    return make("label", {}, box, words);
  });

  const groups = new Map(all(".grid .group").map((row) => [row.dataset.group, row.textContent.trim()]));
  if (groups.size > 1) {
    const show = (group, shown) => {
      for (const each of all("[data-group]")) if (each.dataset.group === group) each.hidden = !shown;
      const families = new Set(all("tr[data-group][hidden]").map((row) => row.dataset.family));
      for (const part of all(".figure [data-family]")) part.classList.toggle("off", families.has(part.dataset.family));
    };
    const legend = make("legend", {}, "Show");
    document.querySelector("nav").after(make("fieldset", { className: "groups" }, legend, ...boxes([...groups], show)));
  }

  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  const sortable = (table) => {
    const more = table.matches(":has(+ .more)") && table.nextElementSibling, rows = (of) => all("tr, colgroup", of);
    if (more) rows(more).forEach((row, i) => rows(table)[i].append(...[...row.children].slice(1)));
    const headers = [...table.tHead.rows[0].cells], isOn = (header) => !header.matches("[data-off]");
    const bodies = [...table.tBodies].map((body) => [body, [...body.rows]]);
    const sort = (at) => {
      const order = NEXT[headers[at].getAttribute("aria-sort")];
      const sign = order === "ascending" ? 1 : -1;
      headers.forEach((header, i) => header.setAttribute("aria-sort", i === at ? order : "none"));
      const numeric = table.querySelector(`td:nth-child(${at + 1})[data-value]`) !== null;
      const key = ({ cells }) => (numeric ? parseFloat(cells[at].dataset.value) : cells[at].textContent.trim());
      const absent = (value) => value !== value;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (absent(x) || absent(y)) return absent(x) - absent(y);
        return sign * ((x > y) - (x < y));
      };
      for (const [body, rows] of bodies) {
        const [fixed, moved] = [true, false].map((is) => rows.filter((row) => row.matches(".group") === is));
        body.append(...fixed, ...(order === "none" ? moved : moved.sort(compare)));
      }
    };
    headers.forEach((header, at) => {
      const button = make("button", { type: "button" }, ...header.childNodes);
      button.addEventListener("click", () => sort(at));
      header.replaceChildren(button);
      header.setAttribute("aria-sort", "none");
    });
    const show = (at, shown) => {
      for (const row of table.rows) if (row.cells[at]) row.cells[at].hidden = !shown;
      for (const col of all(`col:nth-child(${at + 1})`, table)) col.hidden = !shown;
    };
    const columns = boxes(headers.map((header, at) => [at, header.textContent, isOn(header)]).slice(1), show);
    const own = make("details", { className: "columns" }, make("summary", {}, "Columns"), ...columns);
    if (more) more.querySelector("table").replaceWith(...columns);
    else (table.closest(".scroll") ?? table).after(own);
  };
  all("table.sortable").forEach(sortable);

  let lit;
  const light = ({ target }) => {
    const name = target.closest?.("[data-family]")?.dataset.family;
    if (name === lit) return;
    lit = name;
    document.body.classList.toggle("lighting", name !== undefined);
    for (const each of all("[data-family]")) each.classList.toggle("lit", each.dataset.family === name);
  };
  document.addEventListener("pointerover", light);
  document.addEventListener("focusin", light);
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") for (const picture of all("details.enlarge[open]")) picture.open = false;
  });
}
