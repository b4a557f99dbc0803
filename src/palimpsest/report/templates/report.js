"use strict";
// The browser of single prompts. Every text of a model reaches the page through textContent only.
(() => {
  const PAGE_SIZE = 25;
  const CLIP = 900; // characters of a text that are shown at once
  const data = JSON.parse(document.getElementById("prompt-data").textContent);
  const byId = (id) => document.getElementById(id);
  const [SOURCE, CELL, VIA, LANGUAGE, PROMPT, RIGHT, INTRUDING, BASE, TUNED, DISTORTION] =
    [...Array(10).keys()];
  const [OUTCOME, RAW, INVERTED, FINISH, MILLISECONDS, OWN_PROMPT, FLAGS, SCORE] =
    [...Array(8).keys()];
  const FINISHES = {
    stop: "ended by the model",
    decided: "cut once the outcome was decided",
    cut: "cut once it could not become right",
    length: "cut at the length limit",
    chosen: "the likeliest choice; natural-log probabilities",
    uninvertible: "the conjugation failed to invert it",
    logged: "as the log has it",
  };

  let found = data.items.map((_, index) => index);
  let page = 0;
  let onlySource = null;
  const searchable = new Array(data.items.length); // lower-cased on first search

  // --- text -------------------------------------------------------------------------------

  // Control characters as pictures, marks that reorder text as their code points.
  function visible(text) {
    return text.replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g,
      (character) => {
        const code = character.codePointAt(0);
        if (code < 0x20) return String.fromCodePoint(0x2400 + code);
        if (code === 0x7f) return "\u2421";
        return `\u27e6U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e7`;
      },
    );
  }

  function make(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  }

  function foreign(text) {
    return make("bdi", "", visible(text));
  }

  function button(label, onClick, className) {
    const element = make("button", className, label);
    element.type = "button";
    element.addEventListener("click", onClick);
    return element;
  }

  // Cut without splitting a surrogate pair.
  function head(text, length) {
    const code = text.charCodeAt(length - 1);
    return text.slice(0, code >= 0xd800 && code < 0xdc00 ? length - 1 : length);
  }

  function tail(text, length) {
    const code = text.charCodeAt(text.length - length);
    return text.slice(text.length - (code >= 0xdc00 && code < 0xe000 ? length - 1 : length));
  }

  function textBlock(text) {
    const block = make("pre", "");
    block.dir = "auto";
    if (text === "") {
      block.append(make("em", "muted", "(empty)"));
      return block;
    }
    if (text.length <= CLIP) {
      block.append(visible(text));
      return block;
    }
    const start = head(text, CLIP / 2);
    const end = tail(text, CLIP / 2);
    const hidden = (text.length - start.length - end.length).toLocaleString("en");
    const gap = make("span", "gap", `\n\u22ef ${hidden} characters hidden \u22ef\n`);
    const clipped = [visible(start), gap, visible(end)];
    const toggle = button("Show all", () => {
      const open = toggle.getAttribute("aria-expanded") === "true";
      block.replaceChildren(...(open ? clipped : [visible(text)]));
      toggle.setAttribute("aria-expanded", String(!open));
      toggle.textContent = open ? "Show all" : "Show less";
    }, "plain");
    toggle.setAttribute("aria-expanded", "false");
    block.append(...clipped);
    return make("div", "", block, toggle);
  }

  // Chat prompts are recorded as JSON; show who says what. Anything else is shown as it is.
  function promptText(prompt) {
    if (!prompt.startsWith("[")) return prompt;
    let messages;
    try {
      messages = JSON.parse(prompt);
    } catch {
      return prompt;
    }
    const isMessage = (message) =>
      message && typeof message.role === "string" && typeof message.content === "string";
    if (!Array.isArray(messages) || !messages.length || !messages.every(isMessage)) return prompt;
    return messages.map((message) => `\u2039${message.role}\u203a ${message.content}`).join("\n\n");
  }

  // --- one example ------------------------------------------------------------------------

  // The texts that the answers are compared with; separate lines where there is much of it.
  function expectedTexts(label, texts) {
    const name = make("span", "label", `${label}:`);
    if (texts.length === 0) return make("div", "", name, " ", make("em", "", "nothing"));
    if (texts.join("").length > CLIP) return make("div", "long", name, textBlock(texts.join("\n")));
    const shown = texts.map((text) => (text === "" ? make("em", "", "(empty)") : foreign(text)));
    const listed = shown.flatMap((text, place) => (place === 0 ? [" ", text] : [", ", text]));
    return make("div", "", name, ...listed);
  }

  function expected(item) {
    const right = expectedTexts("Right", item[RIGHT]);
    if (data.logged && item[RIGHT].length === 0) return "";
    if (data.logged) return make("div", "expected", right);
    return make("div", "expected", right, expectedTexts("Intruded", item[INTRUDING]));
  }

  // Logs often say only whether an answer is right, or how good it is.
  function outcomeText(answer) {
    if (answer[SCORE] !== undefined) return `score ${answer[SCORE].toFixed(2)}`;
    const outcome = data.outcomes[answer[OUTCOME]];
    return outcome === "broken" && !data.abilities ? "wrong" : outcome;
  }

  function answerSection(title, className, answer) {
    const heading = make("h4", "", make("span", className, title));
    const section = make("section", "", heading);
    if (answer === null) {
      section.append(make("p", "meta", "No answer recorded."));
      return section;
    }
    const outcome = data.outcomes[answer[OUTCOME]];
    heading.append(make("span", `outcome outcome-${outcome}`, outcomeText(answer)));
    const list = make("dl", "", make("dt", "", answer[INVERTED] === null && !data.logged ? "Raw = inverted" : "Raw"),
      make("dd", "", textBlock(answer[RAW])));
    if (answer[INVERTED] !== null) {
      list.append(make("dt", "", data.logged ? "Scored" : "Inverted"), make("dd", "", textBlock(answer[INVERTED])));
    }
    section.append(list);
    const finish = FINISHES[answer[FINISH]] || visible(answer[FINISH]);
    const flags = answer[FLAGS] === "" ? "" : ` \u00b7 ${visible(answer[FLAGS])}`;
    const time = data.logged ? "" : ` \u00b7 ${answer[MILLISECONDS]} ms`;
    section.append(make("p", "meta", `${finish}${time}${flags}`));
    if (answer[OWN_PROMPT] !== null) {
      section.append(make("h4", "", "This model\u2019s prompt as sent"));
      section.append(textBlock(promptText(answer[OWN_PROMPT])));
    }
    return section;
  }

  function distortionText([fidelity, survival, flags]) {
    const percent = (share) => `${(100 * share).toFixed(0)}\u00a0%`;
    const kept = survival === null ? "" : `; ${percent(survival)} of labels, numbers, code survive`;
    const whole = fidelity === 1 ? "The inverse gives this prompt back unchanged"
      : `The inverse does not give this prompt back unchanged: chrF ${percent(fidelity)}`;
    return `${whole}${kept}.${flags === "" ? "" : ` Note: ${visible(flags)}.`}`;
  }

  function example(index) {
    const item = data.items[index];
    const where = make("p", "where", foreign(data.cells[item[CELL]]), " \u00b7 asked ",
      foreign(data.vias[item[VIA]]));
    const language = data.languages[item[LANGUAGE]];
    if (language !== "") where.append(" \u00b7 language ", foreign(language)); // logs may not say it
    const header = make("header", "", make("h3", "", foreign(item[SOURCE])), where);
    if (onlySource === null) {
      header.append(button("All versions of this example", () => showSource(item[SOURCE]), "plain"));
    }
    const prompt = make("section", "", make("h4", "", "Prompt as sent"),
      textBlock(promptText(item[PROMPT])));
    if (item[DISTORTION] !== null) {
      prompt.append(make("p", "meta", distortionText(item[DISTORTION])));
    }
    const columns = make("div", "columns", prompt, answerSection("Base", "of-base", item[BASE]),
      answerSection("Tuned", "of-tuned", item[TUNED]));
    const card = make("article", "example", header, expected(item), columns);
    return make("li", "", card);
  }

  // --- filters and pages ------------------------------------------------------------------

  function searchText(index) {
    if (searchable[index] === undefined) {
      const item = data.items[index];
      const parts = [item[SOURCE], item[PROMPT], ...item[RIGHT], ...item[INTRUDING]];
      for (const answer of [item[BASE], item[TUNED]]) {
        if (answer) parts.push(answer[RAW], answer[INVERTED] || "", answer[OWN_PROMPT] || "");
      }
      searchable[index] = parts.join("\n").toLowerCase();
    }
    return searchable[index];
  }

  function outcomeFits(answer, wanted) {
    if (wanted === "") return true;
    if (answer === null) return false;
    const outcome = data.outcomes[answer[OUTCOME]];
    return wanted === "not right" ? outcome !== "right" : outcome === wanted;
  }

  function filter() {
    const chosen = (id) => (byId(id).value === "" ? -1 : Number(byId(id).value));
    const [cell, via, language] = ["f-cell", "f-via", "f-language"].map(chosen);
    const [base, tuned] = [byId("f-base").value, byId("f-tuned").value];
    const needle = byId("f-text").value.toLowerCase();
    found = [];
    data.items.forEach((item, index) => {
      if (onlySource !== null && item[SOURCE] !== onlySource) return;
      if (cell >= 0 && item[CELL] !== cell) return;
      if (via >= 0 && item[VIA] !== via) return;
      if (language >= 0 && item[LANGUAGE] !== language) return;
      if (!outcomeFits(item[BASE], base) || !outcomeFits(item[TUNED], tuned)) return;
      if (needle !== "" && !searchText(index).includes(needle)) return;
      found.push(index);
    });
    show(0);
  }

  function show(wanted) {
    const nPages = Math.max(1, Math.ceil(found.length / PAGE_SIZE));
    page = Math.min(Math.max(wanted, 0), nPages - 1);
    const shown = found.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    byId("examples").replaceChildren(...shown.map(example));
    const count = (number) => number.toLocaleString("en");
    const status = byId("status");
    status.textContent = found.length === 0
      ? "Nothing matches. Loosen a filter."
      : `${count(found.length)} of ${count(data.items.length)} prompts`;
    if (onlySource !== null) status.append(", versions of ", foreign(onlySource));
    for (const pager of document.querySelectorAll(".pager")) {
      pager.hidden = nPages === 1;
      pager.querySelector(".where").textContent = `Page ${count(page + 1)} of ${count(nPages)}`;
      for (const name of ["first", "previous"]) pager.querySelector(`.${name}`).disabled = page === 0;
      for (const name of ["next", "last"]) {
        pager.querySelector(`.${name}`).disabled = page === nPages - 1;
      }
    }
  }

  function turnTo(wanted) {
    show(wanted);
    byId("status").focus({ preventScroll: true });
    byId("status").scrollIntoView({ block: "start" });
  }

  function showSource(source) {
    resetFilters();
    onlySource = source;
    filter();
    turnTo(0);
  }

  function showCell(name) {
    resetFilters();
    byId("f-cell").value = String(data.cells.indexOf(name));
    filter();
    turnTo(0);
  }

  function resetFilters() {
    onlySource = null;
    byId("filters").reset();
  }

  function fill(id, names) {
    const select = byId(id);
    names.forEach((name, index) => {
      const option = make("option", "", visible(name));
      option.value = String(index);
      select.append(option);
    });
    select.parentElement.hidden = names.length < 2;
  }

  // --- start ------------------------------------------------------------------------------

  fill("f-cell", data.cells);
  fill("f-via", data.vias);
  fill("f-language", data.languages);
  byId("browser").hidden = false;
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  // The search field reports itself: its change event comes when it loses the focus, and a new
  // list at that moment would swallow the click that took the focus.
  for (const select of document.querySelectorAll("#filters select")) {
    select.addEventListener("change", filter);
  }
  let waiting = 0;
  byId("f-text").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  byId("clear").addEventListener("click", () => {
    resetFilters();
    filter();
  });
  for (const pager of document.querySelectorAll(".pager")) {
    const act = (name, target) =>
      pager.querySelector(`.${name}`).addEventListener("click", () => turnTo(target()));
    act("first", () => 0);
    act("previous", () => page - 1);
    act("next", () => page + 1);
    act("last", () => Math.ceil(found.length / PAGE_SIZE) - 1);
  }
  for (const link of document.querySelectorAll("button[data-cell]")) {
    link.hidden = !data.cells.includes(link.dataset.cell);
    link.addEventListener("click", () => showCell(link.dataset.cell));
  }
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  filter();
})();
