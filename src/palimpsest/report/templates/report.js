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

  const ANY = -2; // -1 is a name that this report does not have
  const FIELDS = { text: "f-text", cell: "f-cell", asked: "f-via", language: "f-language",
    base: "f-base", tuned: "f-tuned", again: "f-again" };

  // What is shown, as the address has it; "" is no choice.
  const state = { ...FIELDS, source: "", page: "" };
  for (const name of Object.keys(state)) state[name] = "";
  let found = [];
  const bySource = [];
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
    if (state.source === "") {
      const all = () => turnTo({ source: addressed(item[SOURCE]) });
      header.append(button("All versions of this example", all, "plain"));
    }
    const prompt = make("section", "", make("h4", "", "Prompt as sent"),
      textBlock(promptText(item[PROMPT])));
    if (item[DISTORTION] !== null) {
      prompt.append(make("p", "meta", distortionText(item[DISTORTION])));
    }
    const columns = make("div", "columns", prompt, answerSection("Base", "of-base", item[BASE]),
      answerSection("Tuned", "of-tuned", item[TUNED]));
    const again = data.vias.findIndex((via) => addressed(via) === state.again);
    if (again >= 0 && again !== item[VIA]) {
      const other = data.items[versions(again).get(item[SOURCE])];
      const title = `Tuned, asked ${visible(state.again)}`;
      columns.append(answerSection(title, "of-tuned", other ? other[TUNED] : null));
      columns.classList.add("four");
    }
    const card = make("article", "example", header, expected(item), columns);
    card.tabIndex = -1;
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

  // Which item has a source asked in one way; by place among the ways of asking.
  function versions(via) {
    if (bySource[via] === undefined) {
      bySource[via] = new Map();
      data.items.forEach((item, index) => {
        if (item[VIA] === via) bySource[via].set(item[SOURCE], index);
      });
    }
    return bySource[via];
  }

  function filter() {
    const place = (names, name) =>
      (name === "" ? ANY : names.findIndex((one) => addressed(one) === name));
    const cell = place(data.cells, state.cell);
    const via = place(data.vias, state.asked);
    const language = place(data.languages, state.language);
    const again = place(data.vias, state.again);
    const needle = state.text.toLowerCase();
    const isRight = (index) => index !== undefined && outcomeFits(data.items[index][TUNED], "right");
    found = [];
    data.items.forEach((item, index) => {
      if (state.source !== "" && addressed(item[SOURCE]) !== state.source) return;
      if (cell !== ANY && item[CELL] !== cell) return;
      if (via !== ANY && item[VIA] !== via) return;
      if (language !== ANY && item[LANGUAGE] !== language) return;
      if (!outcomeFits(item[BASE], state.base) || !outcomeFits(item[TUNED], state.tuned)) return;
      if (again !== ANY && !isRight(versions(again).get(item[SOURCE]))) return;
      if (needle !== "" && !searchText(index).includes(needle)) return;
      found.push(index);
    });
    show();
  }

  function show() {
    const nPages = Math.max(1, Math.ceil(found.length / PAGE_SIZE));
    const page = Math.min(Math.max(Number(state.page) || 1, 1), nPages);
    const shown = found.slice((page - 1) * PAGE_SIZE, page * PAGE_SIZE);
    byId("examples").replaceChildren(...shown.map(example));
    const count = (number) => number.toLocaleString("en");
    const status = byId("status");
    status.replaceChildren(`${count(found.length)} of ${count(data.items.length)} prompts`);
    if (state.source !== "") status.append(": versions of ", foreign(state.source));
    if (found.length === 0) status.append(". Nothing matches: loosen a filter.");
    for (const pager of document.querySelectorAll(".pager")) {
      pager.hidden = nPages === 1;
      pager.querySelector(".where").textContent = `Page ${count(page)} of ${count(nPages)}`;
      for (const [name, target] of [["first", 1], ["previous", page - 1], ["next", page + 1], ["last", nPages]]) {
        const control = pager.querySelector(`.${name}`);
        control.disabled = target < 1 || target > nPages || target === page;
        control.value = String(target);
      }
    }
  }

  // --- the state, which the address holds -------------------------------------------------

  // A name as an address can hold it: half a surrogate pair it cannot.
  function addressed(name) {
    return name.replace(/\p{Surrogate}/gu, "\ufffd");
  }

  function query() {
    const chosen = Object.entries(state).filter(([, value]) => value !== "");
    return new URLSearchParams(chosen).toString();
  }

  function read(text) {
    const given = new URLSearchParams(text);
    for (const name of Object.keys(state)) state[name] = given.get(name) || "";
    for (const name of Object.keys(FIELDS)) {
      const field = byId(FIELDS[name]);
      field.value = state[name];
      if (field.value !== state[name]) field.value = state[name] = ""; // a link of another report
    }
  }

  // Every change is a step that the back button undoes; while a search is typed, one for all of it.
  function change(changes, { replace = false } = {}) {
    const before = query();
    Object.assign(state, { page: "", text: byId("f-text").value }, changes);
    const text = query();
    if (text !== before) {
      const address = text === "" ? "#prompts" : `#prompts?${text}`;
      history[replace ? "replaceState" : "pushState"]({ query: text }, "", address);
    }
    read(text);
    filter();
  }

  function clear(changes = {}) {
    change({ ...Object.fromEntries(Object.keys(state).map((name) => [name, ""])), ...changes });
  }

  // A link to another section leaves the filters; going back to where they were different does not.
  function follow() {
    const [section, text = ""] = location.hash.slice(1).split(/\?(.*)/s);
    const isOurs = section === "prompts";
    const wanted = history.state?.query ?? (isOurs ? text : query());
    history.replaceState({ query: wanted }, "");
    if (wanted !== query()) {
      read(wanted);
      filter();
    }
    if (isOurs && text !== "") byId("prompts").scrollIntoView();
  }

  function turnTo(changes) {
    if ("source" in changes || "cell" in changes) clear(changes);
    else change(changes);
    byId("status").focus({ preventScroll: true });
    byId("status").scrollIntoView({ block: "start" });
  }

  // --- keyboard ---------------------------------------------------------------------------

  // From one example to the next; after the last of a page, to the first of the next page.
  function step(by) {
    const cards = [...document.querySelectorAll("#examples .example")];
    const at = cards.findIndex((card) => card.contains(document.activeElement));
    const next = at < 0 ? (by > 0 ? 0 : -1) : at + by;
    const turn = document.querySelector(by > 0 ? ".pager .next" : ".pager .previous");
    if (at >= 0 && (next < 0 || next >= cards.length)) {
      if (turn.disabled || turn.parentElement.hidden) return;
      change({ page: turn.value });
      const turned = document.querySelectorAll("#examples .example");
      turned[by > 0 ? 0 : turned.length - 1].focus();
    } else if (cards.length > 0) {
      cards.at(next).focus();
    }
    document.activeElement.scrollIntoView({ block: "nearest" });
  }

  function press(event) {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || !byId("keys").checked) return;
    if (target.matches("input:not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    const inList = target.closest("#examples") !== null;
    const steps = { j: 1, k: -1, ...(inList ? { ArrowDown: 1, ArrowUp: -1 } : {}) };
    if (event.key in steps) step(steps[event.key]);
    else if (event.key === "/") byId("f-text").focus();
    else return;
    event.preventDefault();
  }

  function fill(id, names) {
    const select = byId(id);
    for (const name of names) {
      const option = make("option", "", visible(name));
      option.value = addressed(name);
      select.append(option);
    }
    select.parentElement.hidden = names.length < 2;
  }

  // --- start ------------------------------------------------------------------------------

  const plain = "plain";
  fill("f-cell", data.cells);
  fill("f-via", data.vias);
  fill("f-again", data.vias.filter((via) => via !== plain));
  fill("f-language", data.languages);
  byId("browser").hidden = false;
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  // The search field reports itself: its change event comes when it loses the focus, and a new
  // list at that moment would swallow the click that took the focus.
  for (const [name, id] of Object.entries(FIELDS)) {
    if (name !== "text") byId(id).addEventListener("change", () => change({ [name]: byId(id).value }));
  }
  let waiting = 0;
  byId("f-text").addEventListener("input", () => {
    clearTimeout(waiting);
    const replace = state.text !== "";
    waiting = setTimeout(() => change({ text: byId("f-text").value }, { replace }), 120);
  });
  byId("clear").addEventListener("click", () => clear());
  const hidden = document.querySelector("button[data-again]");
  if (hidden !== null) {
    hidden.addEventListener("click", () => clear(
      { asked: plain, base: "right", tuned: "not right", again: hidden.dataset.again }));
  }
  for (const control of document.querySelectorAll(".pager button")) {
    control.addEventListener("click", () => turnTo({ page: control.value }));
  }
  for (const link of document.querySelectorAll("button[data-cell]")) {
    link.hidden = !data.cells.includes(link.dataset.cell);
    link.addEventListener("click", () => turnTo({ cell: link.dataset.cell }));
  }
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  window.addEventListener("hashchange", follow);
  document.addEventListener("keydown", press);
  filter();
  follow();
})();
