"use strict";
// Draws the charts of #data into the page; again when a choice, the width or the colour scheme changes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 600px)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const unpacked = (column) => {
    if (Array.isArray(column)) return column;
    if (column.codes) return column.codes.map((code) => column.levels[code]);
    const values = [];
    for (let i = 0; i < column.runs.length; i += 2) for (let times = column.runs[i + 1]; times > 0; times--) values.push(column.levels[column.runs[i]]);
    return values;
  };
  const rowsOf = (table) => {
    const columns = Object.entries(table).map(([name, column]) => [name, unpacked(column)]);
    return columns.length ? columns[0][1].map((_, i) => Object.fromEntries(columns.map(([name, values]) => [name, values[i]]))) : [];
  };
  const tables = Object.fromEntries(Object.entries(data.tables).map(([name, table]) => [name, rowsOf(table)]));

  const derive = {
    curves: (row) => ({ ...row, label: data.labels[row.setting] || row.setting, random: row.setting.startsWith("random_for_") ? "yes" : "no" }),
    map: (row) => {
      const half = (row.high - row.low) / 2;
      const told = half <= data.narrow || row.low > 0 || row.high < 0;
      const zero = row.low <= 0 && row.high >= 0;
      const percent = 100 * row.value;
      const text = !told ? "?" : zero ? "·" : percent.toFixed(Math.abs(percent) < 9.95 ? 1 : 0).replace("-", "−");
      const shade = told ? percent : null; // what cannot be told has no colour
      return { ...row, percent, shade, low: 100 * row.low, high: 100 * row.high, text };
    },
    pareto: (row) => ({ ...row, percent: 100 * row.value, low: 100 * row.low, high: 100 * row.high, rank: Number(row.layer) }),
    plain: (row) => row,
  };

  const limits = (rows) => {
    const most = Math.max(100 * data.narrow, ...rows.map((row) => Math.abs(row.shade)).filter(Number.isFinite));
    return [-most, 0, most];
  };
  const fill = (spec, chosen, rows, where) => {
    if (Array.isArray(spec)) return spec.map((each) => fill(each, chosen, rows, where));
    if (spec && typeof spec === "object") return Object.fromEntries(Object.entries(spec).map(([key, value]) => [key, fill(value, chosen, rows, where)]));
    if (typeof spec !== "string" || !spec.startsWith("@")) return spec;
    if (spec === "@columns") return narrow.matches ? 1 : 5;
    if (spec === "@limits") return limits(rows);
    if (spec === "@kind") return chosen.kind || where.kind || "";
    return css("--" + spec.slice(1)) || spec;
  };

  const config = () => {
    const text = { labelColor: css("--ink"), titleColor: css("--ink"), labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal" };
    const series = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => css("--series" + i));
    return {
      background: "transparent", font: "system-ui, sans-serif", view: { stroke: null },
      axis: { ...text, gridColor: css("--line"), domainColor: css("--muted"), tickColor: css("--muted"), gridOpacity: 0.7 },
      axisX: { grid: false }, legend: { ...text, symbolStrokeWidth: 2.5 },
      title: { color: css("--ink"), fontSize: 13, fontWeight: 600, anchor: "start" },
      range: { category: series },
    };
  };

  const choicesOf = (section) => {
    const chosen = {};
    for (const select of document.querySelectorAll("select")) if (select.dataset.section === section) chosen[select.dataset.column] = select.value;
    return chosen;
  };

  const draw = (chart) => {
    const place = document.getElementById(chart.id);
    const chosen = choicesOf(chart.section);
    const wanted = { ...chart.where };
    for (const column of chart.choose) if (column in chosen) wanted[column] = chosen[column];
    const rows = tables[chart.table].filter((row) => Object.entries(wanted).every(([key, value]) => row[key] === value)).map(derive[chart.derive]);
    if (!rows.length) {
      place.textContent = "There are no scores for this choice.";
      return Promise.resolve();
    }
    const spec = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", ...fill(chart.spec, chosen, rows, chart.where), datasets: { rows }, config: config() };
    const small = narrow.matches || place.parentElement.classList.contains("grid");
    const actions = small ? false : { export: true, source: false, compiled: false, editor: false };
    const options = { renderer: "svg", ast: true, actions, mode: "vega-lite", tooltip: { theme: dark.matches ? "dark" : "light" }, downloadFileName: chart.id };
    return vegaEmbed(place, spec, options).catch((error) => {
      place.textContent = "This chart could not be drawn: " + error.message;
    });
  };
  const all = (section) => Promise.all(data.charts.filter((chart) => !section || chart.section === section).map(draw));

  for (const select of document.querySelectorAll("select")) select.addEventListener("change", () => all(select.dataset.section));
  dark.addEventListener("change", () => all());
  narrow.addEventListener("change", () => all());
  all().then(() => document.documentElement.classList.add("drawn"));
})();
