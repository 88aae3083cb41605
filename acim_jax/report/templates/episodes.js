"use strict";
// The episode browser. Whatever a model or a program wrote is set as text, never as markup.
(() => {
  const form = document.getElementById("filters");
  if (!form) return; // a page without episodes
  const { episodes, labels } = JSON.parse(document.getElementById("episode-data").textContent);
  const list = document.getElementById("list");
  const detail = document.getElementById("detail");

  // Name in the address → the values of an episode, one or several.
  const facets = {
    arm: (e) => [e.arm],
    seed: (e) => [String(e.seed)],
    iteration: (e) => [e.iteration],
    family: (e) => [e.stratum.replace(/\/[^/]*$/, "")],
    level: (e) => [e.stratum.replace(/^.*\//, "")],
    guide: (e) => [e.guide],
    decision: (e) => [e.decision],
    reward: (e) => [e.right ? "right" : "wrong"],
    program: (e) => (e.executions.length ? [...new Set(e.executions.map((x) => x.status))] : ["none"]),
    stop: (e) => [e.stop],
  };

  /** An element with children: elements, or texts. */
  function make(tag, className, ...children) {
    const made = document.createElement(tag);
    made.className = className;
    made.append(...children);
    return made;
  }

  for (const [name, valuesOf] of Object.entries(facets)) {
    const values = episodes.flatMap(valuesOf);
    const select = make("select", "", new Option("all", ""));
    select.name = name;
    for (const value of [...new Set(values)].sort(new Intl.Collator("en", { numeric: true }).compare)) {
      const count = values.filter((other) => other === value).length;
      select.append(new Option(`${name === "arm" ? labels[value] : value} (${count})`, value));
    }
    form.prepend(...form.querySelectorAll("label:has(select)"), make("label", "", name, select));
  }

  const question = (e) => e.question
    ?? e.segments.find((segment) => segment.author === "PROMPT")?.text ?? e.problem_id;
  const texts = episodes.map((e) => [
    e.problem_id, e.question, e.gold ?? null, e.answer, ...e.segments.map((segment) => segment.text),
    ...e.executions.flatMap((x) => [x.code, x.stdout, x.stderr]),
  ].join("\n").toLowerCase());
  const rows = episodes.map((e, index) => {
    const button = make("button", "",
      make("span", e.right ? "right" : "wrong", e.right ? "✓" : "✗"),
      `${e.decision} · ${e.stratum} `,
      make("small", "", `${labels[e.arm]} seed ${e.seed}, iteration ${e.iteration}`),
      make("div", "question", question(e)));
    button.type = "button";
    button.addEventListener("click", () => show(index));
    return make("li", "", button);
  });

  function strip(segment) {
    const marks = segment.logprobs.map((value, position) => {
      const mark = make("i", "");
      mark.style.opacity = Math.max(0.15, Math.min(1, -value / 3));
      mark.title = value === null ? "" : `token ${position + 1}, id ${segment.ids[position]}: `
        + `log-prob ${value}, probability ${Math.exp(value).toFixed(3)}`;
      return mark;
    });
    const sum = segment.logprobs.reduce((total, value) => total + value, 0);
    const least = Math.exp(Math.min(...segment.logprobs)).toFixed(3);
    return [make("div", "strip", ...marks), make("small", "",
      `log-probs: sum ${sum.toFixed(2)}, least likely token has probability ${least}`)];
  }

  const segmentBox = (segment) => make("div", `segment ${segment.author}`,
    make("small", "", `${segment.author} · ${segment.tokens} tokens`),
    make("pre", "", segment.text), ...(segment.logprobs?.length ? strip(segment) : []));

  const executionBox = (x, position) => make("details", "",
    make("summary", "",
      `program ${position + 1}: ${x.status}, ${x.wall_s} s${x.truncated ? ", output cut" : ""}`),
    ...["code", "stdout", "stderr"].filter((part) => x[part])
      .flatMap((part) => [make("h3", "", part), make("pre", "", x[part])]));

  function show(index) {
    rows.forEach((row, other) => row.firstChild.setAttribute("aria-current", String(other === index)));
    const e = episodes[index];
    if (!e) {
      detail.replaceChildren(make("p", "note", "No episode matches; reset the filters."));
      return;
    }
    const facts = {
      question: question(e), "gold answer": e.gold ?? null, "extracted answer": e.answer ?? "none",
      reward: `${e.reward} (${e.right ? "right" : "wrong"})`, 
      advantage: e.iteration === "final" ? null : e.advantage ?? "not trained on",
      "guide → decision": `${e.guide} → ${e.decision}`, stop: e.stop,
      problem: `${e.problem_id} (${e.stratum})`,
    };
    const known = Object.entries(facts).filter(([, value]) => value !== null);
    detail.replaceChildren(
      make("dl", "", ...known.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)])),
      ...e.segments.map(segmentBox), ...e.executions.map(executionBox));
    detail.scrollTop = 0;
  }

  /** Shows the episodes that match the form. */
  function apply() {
    const wanted = [...new FormData(form)].filter(([, value]) => value);
    const shown = episodes.flatMap((e, index) => (wanted.every(([name, value]) => (
      name === "q" ? texts[index].includes(value.toLowerCase()) : facets[name](e).includes(value)
    )) ? [index] : []));
    list.replaceChildren(...shown.map((index) => rows[index]));
    list.scrollTop = 0;
    document.getElementById("count").textContent = `${shown.length} of ${episodes.length}`;
    show(shown[0]);
    return wanted;
  }

  /** Filters from the address; an anchor such as `#policy` is none. */
  function readAddress() {
    const text = window.location.hash.slice(1);
    if (text && !text.includes("=")) return;
    const wanted = new URLSearchParams(text);
    for (const field of form.elements) if (field.name) field.value = wanted.get(field.name) ?? "";
    apply();
  }

  const readForm = () => window.history.replaceState(null, "", `#${new URLSearchParams(apply())}`);
  form.addEventListener("input", readForm);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => window.setTimeout(readForm));
  window.addEventListener("hashchange", readAddress);
  list.addEventListener("keydown", (event) => {
    const row = document.activeElement.parentElement;
    const next = { ArrowDown: row.nextSibling, ArrowUp: row.previousSibling }[event.key];
    if (!next) return;
    event.preventDefault();
    next.firstChild.focus();
    next.firstChild.click();
  });
  apply();
  readAddress();
})();
