// The numbers that a figure shows, as CSV: one row a point, under each figure as a link.
const cell = (value) => {
  const text = value === undefined || value === null ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const at = (values, i) => (values === undefined ? undefined : ArrayBuffer.isView(values) || Array.isArray(values) ? values[i] : values);
const rows = (trace) =>
  Array.from(trace.x ?? [], (x, i) => [
    trace.name ?? "", x, at(trace.y, i), at(trace.error_x?.array, i), at(trace.error_x?.arrayminus, i),
    at(trace.error_y?.array, i), at(trace.error_y?.arrayminus, i), at(trace.text, i),
  ]);
// `data` holds what the file says, in base64; `_fullData` the same as numbers.
const csv = (figure) =>
  [["series", "x", "y", "x_plus", "x_minus", "y_plus", "y_minus", "label"], ...figure._fullData.flatMap(rows)]
    .map((row) => row.map(cell).join(",")).join("\n") + "\n";
document.querySelectorAll(".plotly-graph-div").forEach((figure, i) => {
  const link = document.createElement("a");
  link.className = "data";
  link.textContent = "data (CSV)";
  link.download = `${document.title.split(" · ")[0]}-figure-${i + 1}.csv`;
  link.href = "#";
  link.addEventListener("click", () => {
    link.href = URL.createObjectURL(new Blob([csv(figure)], { type: "text/csv" }));
  });
  figure.parentElement.after(link);  // its parent has the figure's height
});
// A figure was drawn before what stands beside it was there, and may be too wide for its column.
document.querySelectorAll(".plotly-graph-div").forEach((figure) => {
  if (figure._fullLayout.width !== figure.parentElement.clientWidth) Plotly.Plots.resize(figure);
});
// Figures are as wide as paper lets them be: by relayout, as Plotly's own resize comes only after the page is printed.
const fit = (paper) => {
  document.body.classList.toggle("paper", paper);
  document.querySelectorAll(".plotly-graph-div").forEach((figure) =>
    Plotly.relayout(figure, paper ? { width: figure.parentElement.clientWidth } : { width: null, autosize: true }));
};
// Paper has no room to scroll and nobody to click: everything is open there.
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  fit(true);
});
window.addEventListener("afterprint", () => fit(false));
