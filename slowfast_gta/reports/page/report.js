"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const tip = document.getElementById("tip");
  const places = [...document.querySelectorAll("[data-chart]")];
  const views = new Map();

  function theme() {
    const night = dark.matches;
    const ink = night ? "#e6edf3" : "#1b1f24", soft = night ? "#9da7b3" : "#57606a", line = night ? "#30363d" : "#d0d7de";
    const text = { labelColor: soft, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
    return {
      background: null,
      font: "system-ui, 'Segoe UI', 'Noto Sans', sans-serif",
      view: { stroke: "transparent" },
      axis: { ...text, gridColor: line, domainColor: soft, tickColor: soft },
      legend: { ...text, orient: "top", labelLimit: 320, symbolStrokeColor: ink },
      header: { ...text, labelColor: ink },
      bar: { color: night ? "#56b4e9" : "#0072b2" },
      range: {
        category: night ? ["#56b4e9", "#e69f00", "#2fc99b", "#e08fc0", "#f0e442", "#ff8a5c"] : ["#0072b2", "#b36b00", "#007a5a", "#a8488a", "#3d7a9c", "#d55e00"],
        heatmap: night ? ["#17324a", "#3f7fb0", "#cfe8ff"] : ["#deebf7", "#6baed6", "#08306b"],
      },
    };
  }

  // Text alone is ever put in: what runs call their classes is never markup.
  function tooltip(handler, event, item, value) {
    tip.hidden = value === null || value === undefined || value === "";
    if (tip.hidden) return;
    tip.textContent = typeof value === "object" ? Object.entries(value).map(([name, one]) => `${name}: ${one}`).join("\n") : String(value);
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  }

  // One drawing of a place after the other, each with the colours and the order of its time.
  function draw(place) {
    const before = views.get(place) ?? Promise.resolve(null);
    const next = before.then((drawn) => {
      drawn?.finalize();
      const options = { mode: "vega-lite", renderer: "canvas", actions: false, defaultStyle: false, config: theme(), tooltip };
      return vegaEmbed(place, specs[place.dataset.chart], options);
    });
    views.set(place, next);
    return next;
  }

  function drawAll() {
    document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
    return Promise.all(places.map(draw));
  }

  // Bars in another order, or those whose names contain something.
  for (const select of document.querySelectorAll("[data-order]")) {
    const place = places.find((one) => one.dataset.chart === select.dataset.order);
    select.addEventListener("change", () => {
      const field = select.value.replace("-", "");
      specs[select.dataset.order].encoding.y.sort = { field, op: "min", order: select.value.startsWith("-") ? "descending" : "ascending" };
      draw(place);
    });
  }

  function valuesOf(spec) {
    return spec.data.values ?? spec.datasets[spec.data.name];
  }

  function contains(text, wanted) {
    return text.toLocaleLowerCase().includes(wanted);
  }

  for (const input of document.querySelectorAll("[data-filter]")) {
    const host = document.getElementById(input.dataset.filter);
    const parts = [...(host.tBodies ? host.tBodies[0].rows : host.children)];
    const count = document.querySelector(`[data-count="${input.dataset.filter}"]`);
    const chart = places.find((one) => one.dataset.chart === input.dataset.filterChart);
    const all = chart && valuesOf(specs[input.dataset.filterChart]);
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLocaleLowerCase();
      for (const part of parts) part.hidden = !contains(part.textContent, wanted);
      if (count) count.textContent = `${parts.filter((part) => !part.hidden).length} of ${parts.length} shown`;
      if (chart) {
        const values = all.filter((row) => contains(row.class, wanted));
        Object.assign(specs[input.dataset.filterChart], { data: { values }, height: 16 * Math.max(1, values.length) });
        draw(chart);
      }
    });
  }

  // Tables are sorted by the buttons in their heads: numbers as numbers, what is no number last.
  function keyOf(row, column, numeric) {
    const text = row.cells[column].textContent.trim();
    if (!numeric) return text;
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? null : number;
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button")?.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const numeric = head.classList.contains("number");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [keyOf(row, column, numeric), row]);
        rows.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          return (numeric ? a - b : a.localeCompare(b)) * (ascending ? 1 : -1);
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  dark.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  let waiting = 0;
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
  drawAll().then(() => { document.documentElement.dataset.ready = "yes"; });
})();
