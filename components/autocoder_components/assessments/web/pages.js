"use strict";
// Pages read without this. It follows an assessment that has not ended: progress as it moves, the whole page when it ends.
(() => {
  const main = document.querySelector("main[data-events]");
  if (!main) return;
  const told = document.getElementById("told");
  const source = new EventSource(main.dataset.events);
  let known = null;
  source.addEventListener("state", (event) => {
    const now = JSON.parse(event.data);
    const progress = document.getElementById("progress");
    if (progress) progress.value = now.progress;
    const words = document.getElementById("progress-words");
    if (words) words.textContent = `${now.progress} %` + (now.message ? `, ${now.message}` : "");
    // What changes the rest of the page is a change of state: the page is asked for again, by its reader's choice.
    if (known !== null && now.version !== known) told.hidden = false;
    known = now.version;
  });
  source.addEventListener("settled", () => {
    source.close();
    // Nobody is moved away from what they are reading or filling in.
    if (window.scrollY < 200 && document.activeElement === document.body) location.reload();
    else told.hidden = false;
  });
  addEventListener("pagehide", () => source.close());
})();
