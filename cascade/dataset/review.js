const form = document.querySelector("form"), told = document.querySelector("output");
const cards = [...document.querySelectorAll("article")];
let saved = true;
function outcomes() {
  const lines = JSON.parse(form.dataset.drawn);
  for (const card of cards) {
    const chosen = card.querySelector("input:checked");
    if (chosen && chosen.value) lines.push({
      task: card.dataset.task, item: card.dataset.item, label: chosen.value, source: form.dataset.source,
    });
  }
  return lines;
}
function count() {
  const n = cards.filter(card => card.querySelector("input:checked")?.value).length;
  told.textContent = `${n} of ${cards.length} answered`;
}
form.addEventListener("change", () => { saved = false; count(); });
form.addEventListener("submit", event => {
  event.preventDefault();
  const text = outcomes().map(line => JSON.stringify(line) + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  link.download = "outcomes.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
  saved = true;
});
addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });
document.body.classList.add("ready");
count();
