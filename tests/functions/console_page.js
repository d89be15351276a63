// The console's script without a browser: elements that hold what they are told, XMLHttpRequest
// over fetch, and a WebSocket that cannot be opened. Told by arguments: the page's script, the
// API's address, a file, the choices, and which of storage's PUTs finds its link expired (the
// first is 1; 0: none). Prints what was called and what the page shows.
// Or, instead of sending the file: what the address names when the page is loaded, `#` and a job's
// id, and then what a user does, `hash=…` or `key=…`, each once the page has asked for the job.
const fs = require("node:fs");
const vm = require("node:vm");

const [script, api, path, recipe, engine, format, expired, hash = "", ...done] = process.argv.slice(2);
const calls = [];
const puts = () => calls.filter(({ method }) => method === "PUT").length;
const elements = new Map();

function element() {
  return {
    textContent: "", value: "", hidden: false, files: [], children: [], classList: { add() {}, remove() {} },
    setAttribute() {}, append() {}, replaceChildren(...children) { this.children = children; },
  };
}

const document = {
  getElementById: (id) => elements.get(id) ?? elements.set(id, element()).get(id),
  createElement: element,
};

async function heard(method, url, options = {}) {
  const address = new URL(url, `${api}/`);
  const where = address.origin === api ? "api" : "storage";
  const late = method === "PUT" && puts() + 1 === Number(expired);
  const answer = late ? { status: 403 } : await fetch(address, { ...options, method });
  calls.push({ method, where, path: address.pathname, status: answer.status });
  return answer;
}

class XMLHttpRequest {
  upload = {};
  headers = {};
  open(method, url) { Object.assign(this, { method, url }); }
  setRequestHeader(name, value) { this.headers[name] = value; }
  send(body) {
    heard(this.method, this.url, { headers: this.headers, body }).then((answer) => {
      this.status = answer.status;
      this.upload.onprogress({ loaded: body.size });
      this.onload();
    }, () => this.onerror());
  }
}

class WebSocket {
  constructor() { setTimeout(() => this.onclose(), 0); }
}

const location = { href: `${api}/`, hash, protocol: "http:" };
const window = {};
const page = vm.createContext({
  document, location, window, history: { replaceState(_, __, at) { location.hash = at; } },
  URL, XMLHttpRequest, WebSocket, console, setTimeout,
  fetch: (url, options) => heard(options.method ?? "GET", url, options),
});
vm.runInContext(fs.readFileSync(script, "utf8"), page);

const shows = (id) => document.getElementById(id).textContent;
const asked = () => calls.filter(({ path }) => path.startsWith("/job/"));

function send() {
  const bytes = new Blob([fs.readFileSync(path)]);
  document.getElementById("file").files = [Object.assign(bytes, { name: "song.wav" })];
  document.getElementById("recipe").value = recipe;
  document.getElementById("choice").value = engine;
  document.getElementById("format").value = format;
  document.getElementById("form").onsubmit({ preventDefault() {} });
  const shown = setInterval(() => {
    if (!asked().length && !shows("problem")) return;
    clearInterval(shown);
    end({ problem: shows("problem") });
  }, 20);
}

async function reopen() {
  const seen = [];
  for (const step of ["", ...done]) {
    const before = asked().length;
    if (step.startsWith("hash=")) {
      location.hash = step.slice(5);
      window.onhashchange?.();
    } else if (step) {
      document.getElementById("key").value = step.slice(4);
      document.getElementById("key").onchange?.();
    }
    // As long as the page needs to ask once more for a job that it has seen unfinished.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const { hidden } = document.getElementById("job");
    const ids = asked().slice(before).map(({ path }) => path.split("/").pop());
    seen.push({ problem: shows("problem"), name: hidden ? "" : shows("name"), last: ids.pop() });
  }
  end({ seen });
}

const end = (told) => process.stdout.write(JSON.stringify({ calls, ...told }), () => process.exit(0));
if (hash) reopen(); else send();
