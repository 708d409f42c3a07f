"use strict";
// The report reads without this: the severity boxes work by style alone. It adds the search, the count, and hides
// the headings of groups in which nothing is left to show.
(() => {
  const search = document.getElementById("search");
  if (!search) return;
  const findings = [...document.querySelectorAll(".finding")];
  const groups = [...document.querySelectorAll(".server"), ...document.querySelectorAll(".file")];
  const words = new Map(findings.map((finding) => {
    const headings = [finding.closest(".file"), finding.closest(".server")].map((group) => group.dataset.name);
    return [finding, [finding.textContent, ...headings].join(" ").toLowerCase()];
  }));
  const narrow = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const finding of findings) finding.hidden = !wanted.every((word) => words.get(finding).includes(word));
    for (const group of groups) group.hidden = false;
    const left = findings.filter((finding) => finding.getClientRects().length > 0);
    for (const group of groups) group.hidden = !left.some((finding) => group.contains(finding));
    document.getElementById("shown").textContent = `Showing ${left.length} of ${findings.length} findings`;
  };
  search.hidden = false;
  for (const control of document.querySelectorAll(".filters input")) control.addEventListener("input", narrow);
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  narrow();
})();
