// The consult page with JavaScript: the answer is streamed, a FHIR file is read into the form, a second press of the
// button does nothing. Without it the same form posts and the same page comes back whole. No library, no build step.
// Text of the model is only ever set as text; the one piece of markup taken over is rendered by our own server, which
// escapes everything in it.

const main = document.getElementById("consult");
const words = main.dataset;
const SILENCE = 30_000; // ms without a sign of life (the server sends one every 5 s) before a connection counts as lost
let running = null;

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function live() {
  let status = document.getElementById("status");
  if (!status) {
    status = element("p", "", { id: "status", role: "status", class: "hidden" });
    document.body.append(status);
  }
  return status;
}

// What stood there of an earlier case goes, so that nobody reads it beside a new one.
function result() {
  for (const old of main.querySelectorAll(".read, .more, .limits")) old.remove();
  return document.getElementById("result");
}

function showFault(sentence, title) {
  const section = element("section", "", { id: "answer", role: "alert", class: "fault" });
  section.append(element("h1", title || words.fault, { tabindex: "-1" }), element("p", sentence));
  result().replaceChildren(section);
  section.firstChild.focus();
}

function waitingPanel(stop) {
  const panel = element("section", "", { id: "answer", class: "waiting", "aria-busy": "true" });
  const line = element("p", words.waiting, { class: "progress" });
  const fold = element("details");
  const thoughts = element("div", "", { class: "written" });
  fold.append(element("summary", words.reasoning), element("p", words.unaudited, { class: "caution" }), thoughts);
  fold.hidden = true;
  const button = element("button", words.stop, { type: "button", class: "second" });
  button.addEventListener("click", stop);
  panel.append(line, fold, button);
  result().replaceChildren(panel);
  scrollTo(0, 0);
  return { line, fold, thoughts };
}

async function* eventsOf(response, beat) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    beat();
    buffer += value;
    const frames = buffer.split("\n\n");
    buffer = frames.pop();
    for (const frame of frames) {
      const name = /^event: (.*)$/m.exec(frame);
      const data = /^data: (.*)$/m.exec(frame);
      if (name && data) yield { name: name[1], data: JSON.parse(data[1]) };
    }
  }
}

function takeOver(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  main.replaceChildren(...parsed.body.childNodes);
  document.title = words.title;
  prepare();
  const heading = main.querySelector("#answer h1");
  if (heading) {
    heading.focus({ preventScroll: true });
    scrollTo(0, 0); // the banner is read before the answer
  }
  live().textContent = words.answered;
}

async function follow(response, panel, beat) {
  let count = 0;
  for await (const { name, data } of eventsOf(response, beat)) {
    if (name === "thinking") {
      panel.fold.hidden = false;
      panel.thoughts.append(data.text);
      count += (data.text.match(/\S+/g) || []).length;
      panel.line.textContent = words.thinking.replace("{words}", count);
    } else if (name === "writing") {
      panel.line.textContent = words.writing;
    } else if (name === "fault") {
      showFault(data.sentence);
      return;
    } else if (name === "answer") {
      takeOver(data.html);
      return;
    }
  }
  showFault(words.lost);
}

async function ask(form) {
  const button = form.querySelector("button[type=submit]");
  const control = new AbortController();
  let why = "";
  let timer = 0;
  const beat = () => {
    clearTimeout(timer);
    timer = setTimeout(() => { why = words.lost; control.abort(); }, SILENCE);
  };
  running = control;
  button.disabled = true;
  const panel = waitingPanel(() => { why = words.stopped; control.abort(); });
  live().textContent = words.waiting;
  try {
    const response = await fetch("/stream", {
      method: "POST", body: new URLSearchParams(new FormData(form)), signal: control.signal,
    });
    const type = response.headers.get("content-type") || "";
    if (response.status === 401) showFault(words.expired);
    else if (response.status === 413) showFault(words.large);
    else if (!response.ok) showFault(type.startsWith("text/plain") ? await response.text() : words.broken);
    else if (type.startsWith("text/html")) takeOver(await response.text());
    else { beat(); await follow(response, panel, beat); }
  } catch (error) {
    showFault(why || words.lost);
  } finally {
    clearTimeout(timer);
    running = null;
    button.disabled = false;
  }
}

function prepare() {
  const form = document.getElementById("ask");
  if (!form) return;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) ask(form);
  });
  for (const hidden of form.querySelectorAll(".scripted")) hidden.hidden = false;
  const file = form.querySelector("#file");
  file.addEventListener("change", async () => {
    if (file.files.length) form.querySelector("#case").value = await file.files[0].text();
  });
}

prepare();
