"use strict";
// The episode browser. Whatever a model or a program wrote is set as text, never as markup.
(() => {
  const form = document.getElementById("filters");
  if (!form) return; // a page without episodes
  const { episodes, labels } = JSON.parse(document.getElementById("episode-data").textContent);
  const list = document.getElementById("list");
  const detail = document.getElementById("detail");

  const isRight = (e) => e.reward > 0.5;
  const family = (e) => e.stratum.slice(0, e.stratum.lastIndexOf("/"));
  const level = (e) => e.stratum.slice(e.stratum.lastIndexOf("/") + 1);
  const statuses = (e) => {
    const seen = [...new Set(e.executions.map((execution) => execution.status))];
    return seen.length ? seen : ["none"];
  };
  // Name in the address → the values of an episode (one or several), and how to show one.
  const facets = {
    arm: { of: (e) => [e.arm], show: (v) => labels[v] ?? v },
    seed: { of: (e) => [String(e.seed)] },
    iteration: { of: (e) => [e.iteration] },
    family: { of: (e) => [family(e)] },
    level: { of: (e) => [level(e)] },
    guide: { of: (e) => [e.guide] },
    decision: { of: (e) => [e.decision] },
    reward: { of: (e) => [isRight(e) ? "1" : "0"], show: (v) => (v === "1" ? "right" : "wrong") },
    status: { of: statuses },
    stop: { of: (e) => [e.stop] },
  };

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined && text !== null) made.textContent = text;
    return made;
  }

  function addFacet(name, { of, show = (v) => v }) {
    const counts = new Map();
    for (const episode of episodes) {
      for (const value of of(episode)) counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    const label = element("label", "", name === "status" ? "program ended" : name);
    const select = element("select");
    select.name = name;
    select.append(new Option("all", ""));
    const order = new Intl.Collator("en", { numeric: true }).compare;
    for (const value of [...counts.keys()].sort(order)) {
      select.append(new Option(`${show(value)} (${counts.get(value)})`, value));
    }
    label.append(select);
    document.getElementById("facets").append(label);
  }
  for (const [name, facet] of Object.entries(facets)) addFacet(name, facet);

  const texts = episodes.map((e) => {
    const parts = [e.problem, e.question, e.gold, e.answer, ...e.segments.map((s) => s.text)];
    for (const x of e.executions) parts.push(x.code, x.stdout, x.stderr);
    return parts.filter((part) => part !== null && part !== undefined).join("\n").toLowerCase();
  });

  function matches(episode, index, wanted) {
    const text = (wanted.get("q") ?? "").toLowerCase();
    if (text && !texts[index].includes(text)) return false;
    return Object.entries(facets).every(([name, facet]) => {
      const value = wanted.get(name);
      return !value || facet.of(episode).includes(value);
    });
  }

  function question(e) {
    if (e.question) return e.question;
    const prompt = e.segments.find((segment) => segment.author === "PROMPT");
    return prompt?.text ?? e.problem;
  }

  function row(episode, index) {
    const item = element("li");
    const button = element("button");
    button.type = "button";
    button.dataset.index = index;
    const top = element("div", "row-top");
    top.append(
      element("span", isRight(episode) ? "right" : "wrong", isRight(episode) ? "✓" : "✗"),
      element("span", "", `${episode.decision} · ${episode.stratum}`),
      element("span", "fine", `${labels[episode.arm] ?? episode.arm} seed ${episode.seed}, `
        + `${episode.iteration === "final evaluation" ? "final" : `iteration ${episode.iteration}`}`),
    );
    button.append(top, element("div", "row-question", question(episode)));
    item.append(button);
    return item;
  }

  function addStrip(box, segment) {
    if (!segment.logprobs) return;
    const strip = element("div", "strip");
    const known = segment.logprobs.filter((value) => value !== null);
    segment.logprobs.forEach((value, position) => {
      const mark = element("i");
      if (value !== null) {
        const strength = Math.min(1, -value / 3).toFixed(3);
        mark.style.background = `color-mix(in srgb, var(--forced) ${100 * strength}%, var(--grid))`;
        mark.title = `token ${position + 1}, id ${segment.ids[position] ?? "?"}: log-prob `
          + `${value.toFixed(3)}, probability ${Math.exp(value).toFixed(3)}`;
      }
      strip.append(mark);
    });
    const sum = known.reduce((total, value) => total + value, 0);
    const note = `log-probs: sum ${sum.toFixed(2)}, least likely token has probability `
      + `${Math.exp(Math.min(...known)).toFixed(3)}`;
    box.append(strip, element("div", "strip-note", note));
  }

  function segmentBox(segment) {
    const box = element("div", `segment author-${segment.author.replace(/[^A-Z]/g, "")}`);
    const tokens = segment.tokens === null ? "" : ` · ${segment.tokens} tokens`;
    box.append(element("div", "segment-author", segment.author + tokens),
      element("pre", "", segment.text));
    addStrip(box, segment);
    return box;
  }

  function executionBox(execution, position) {
    const box = element("details");
    const seconds = execution.wall_s === null ? "" : `, ${execution.wall_s} s`;
    const cut = execution.truncated ? ", output cut" : "";
    box.append(element("summary", "", `program ${position + 1}: ${execution.status}${seconds}${cut}`));
    for (const part of ["code", "stdout", "stderr"]) {
      if (execution[part]) box.append(element("h3", "", part), element("pre", "", execution[part]));
    }
    return box;
  }

  function show(index) {
    for (const button of list.querySelectorAll("button")) {
      button.setAttribute("aria-current", String(Number(button.dataset.index) === index));
    }
    detail.replaceChildren();
    const episode = episodes[index];
    if (!episode) {
      detail.append(element("p", "note", "No episode matches; reset the filters."));
      return;
    }
    const facts = element("dl", "facts");
    const add = (name, value) => facts.append(element("dt", "", name), element("dd", "", value));
    add("question", question(episode));
    if (episode.gold !== null) add("gold answer", episode.gold);
    add("extracted answer", episode.answer ?? "none");
    add("reward", `${episode.reward} (${isRight(episode) ? "right" : "wrong"})`);
    if (episode.iteration !== "final evaluation") {
      add("advantage", episode.advantage === null ? "not trained on" : episode.advantage);
    }
    add("guide → decision", `${episode.guide} → ${episode.decision}`);
    add("stop", episode.stop);
    add("problem", `${episode.problem} (${episode.stratum})`);
    detail.append(facts, ...episode.segments.map(segmentBox));
    detail.append(...episode.executions.map(executionBox));
    detail.scrollTop = 0;
  }

  function wantedFromForm() {
    const wanted = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value) wanted.set(name, value);
    return wanted;
  }

  function apply(wanted) {
    const shown = [];
    episodes.forEach((episode, index) => {
      if (matches(episode, index, wanted)) shown.push(index);
    });
    list.replaceChildren(...shown.map((index) => row(episodes[index], index)));
    list.scrollTop = 0;
    document.getElementById("count").textContent = `${shown.length} of ${episodes.length}`;
    const asked = wanted.has("episode") ? Number(wanted.get("episode")) : NaN;
    show(shown.includes(asked) ? asked : shown[0]);
  }

  /** Filters from the address; an anchor such as `#policy` is none. */
  function readAddress() {
    const text = window.location.hash.slice(1);
    if (text && !text.includes("=")) return;
    const wanted = new URLSearchParams(text);
    for (const field of form.elements) if (field.name) field.value = wanted.get(field.name) ?? "";
    apply(wanted);
  }

  function readForm() {
    const wanted = wantedFromForm();
    window.history.replaceState(null, "", `#${wanted}`);
    apply(wanted);
  }

  form.addEventListener("input", readForm);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => window.setTimeout(readForm));
  window.addEventListener("hashchange", readAddress);
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) show(Number(button.dataset.index));
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...list.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (!step || !next) return;
    event.preventDefault();
    next.focus();
    show(Number(next.dataset.index));
  });

  apply(new URLSearchParams());
  readAddress();
})();
