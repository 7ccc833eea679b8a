/* Making elements. Texts are set as text and nothing else, so what a file says can never become a part of the page. */

export const element = (id) => document.getElementById(id);

/* Make an element; `facts` are attributes, `on...` listeners; children are elements or texts. */
export function make(tag, facts = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

/* Set a text only where it changed, so that neither selections nor readers of the screen are disturbed. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/* Make a table with a heading for each column; a column is [title, class]. */
export function table(label, columns) {
  const head = make("tr", {}, ...columns.map(([title, kind]) => make("th", { scope: "col", class: kind }, title)));
  const body = make("tbody");
  const whole = make("table", {}, make("caption", { class: "unseen" }, label), make("thead", {}, head), body);
  return { whole: make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, whole), body, columns };
}

/* Bring the rows of a table to what `items` say, keeping those that stay, with the focus in them.
 * `cells(item)` gives for each column a text, or {text, kind} with a class, or {key, node} with an element, which is made
 * anew only when the key changes. */
export function fill(made, items, keyOf, cells) {
  const before = new Map([...made.body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, place) => {
    const key = String(keyOf(item));
    const row = before.get(key) || rowOf(made, key);
    before.delete(key);
    cells(item).forEach((cell, column) => put(row.cells[column], made.columns[column][1], cell));
    if (made.body.rows[place] !== row) made.body.insertBefore(row, made.body.rows[place] || null);
  });
  for (const row of before.values()) row.remove();
}

function rowOf(made, key) {
  return make("tr", { "data-key": key }, ...made.columns.map(() => make("td")));
}

function put(td, kind, cell) {
  if (cell !== null && typeof cell === "object" && "node" in cell) {
    if (td.dataset.key !== cell.key) td.replaceChildren(cell.node());
    td.dataset.key = cell.key;
  } else {
    const { text, kind: mark } = cell !== null && typeof cell === "object" ? cell : { text: cell };
    say(td, text === null || text === undefined || text === "" ? "-" : String(text));
    kind = [kind, mark].filter(Boolean).join(" ");
  }
  if (td.className !== (kind || "")) td.className = kind || "";
}
