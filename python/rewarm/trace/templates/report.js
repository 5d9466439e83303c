"use strict";
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const label = () => {
    theme.textContent = dark() ? "Light" : "Dark";
    theme.setAttribute("aria-pressed", String(dark()));
  };
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();

  const tagged = [...document.querySelectorAll("[data-region]")];
  const boxes = [...document.querySelectorAll("input[name=region]")];
  const verdicts = [...document.querySelectorAll("input[name=verdict]")];
  const filter = () => {
    const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    const verdict = verdicts.find((radio) => radio.checked).value;
    for (const element of tagged) {
      const wrong = verdict !== "" && element.dataset.verdict !== undefined && element.dataset.verdict !== verdict;
      element.classList.toggle("off", wrong || off.has(element.dataset.region));
    }
  };
  for (const input of [...boxes, ...verdicts]) input.addEventListener("change", filter);
  // A browser may keep the boxes of an earlier visit.
  filter();

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value;
  };
  const compare = (a, b) => {
    // Empty cells stay at the end in both directions: the caller turns only what this calls different.
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  for (const table of document.querySelectorAll("table.numbers")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
        rows.sort(([a], [b]) => {
          if (a === "" || b === "") return (a === "") - (b === "");
          return up ? compare(a, b) : compare(b, a);
        });
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
