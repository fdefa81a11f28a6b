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
// Paper has no room to scroll and nobody to click: everything is open there.
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  document.querySelectorAll(".plotly-graph-div").forEach((figure) => Plotly.Plots.resize(figure));
});
