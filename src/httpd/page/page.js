"use strict";
// Shows /status every few seconds, and /events as they come. What a stranger wrote is only ever text (textContent).

const BACKLOG = 50; // Events that are shown at first.
const MOST = 200; // And at the most.
const PAUSE = 2000; // Milliseconds until a lost stream is opened again.
const SILENCE = 40000; // A stream that is silent for so long is dead: the server says something every 15 s.
const STATUS = 5000; // Milliseconds between two looks at the status.
const DAY = 86400;

const $ = (id) => document.getElementById(id);
let last = null; // The last seq that was shown, or passed over.
let begun = false; // The page has shown a status.
let shownAt = null; // When the status was shown last.
let isLive = false; // The stream is open.
let refresh = null;

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function append(parent, ...children) {
  parent.append(...children);
  return parent;
}

async function ask(path, headers = {}, signal) {
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = "Bearer " + token;
  const reply = await fetch(path, { headers, cache: "no-store", credentials: "omit", redirect: "error", signal });
  if (reply.status === 401) throw login(token);
  if (!reply.ok) throw new Error((await reply.text()).trim());
  return reply;
}

// ---- The token

const NEEDS_TOKEN = "needs a token";

function login(wrong) {
  sessionStorage.removeItem("token");
  if (wrong) {
    $("why").textContent = "The server does not accept this token.";
    $("why").className = "fault";
  }
  $("main").hidden = true;
  $("login").hidden = false;
  $("link").hidden = true;
  $("token").focus();
  return new Error(NEEDS_TOKEN);
}

const isLoggedOut = () => !$("login").hidden;

$("login").addEventListener("submit", (submit) => {
  submit.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("token").value = "";
  $("login").hidden = true;
  $("link").hidden = false;
  start();
});

// ---- Words for numbers

const NUMBER = new Intl.NumberFormat();

function span(seconds) {
  for (const [length, unit] of [[DAY, "day"], [3600, "hour"], [60, "minute"]]) {
    const count = Math.floor(seconds / length);
    if (count > 0) return count + " " + unit + (count > 1 ? "s" : "");
  }
  return Math.max(0, Math.floor(seconds)) + " s";
}

const age = (time) => (Date.now() - Date.parse(time)) / 1000;

function octets(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) (count /= 1024), at++;
  return (count < 10 && at > 0 ? count.toFixed(1) : Math.round(count)) + " " + units[at];
}

const words = (key) => key.replace(/_octets$/, "").replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());

// A value of which the page knows only the name.
function shown(key, value) {
  if (value === null || value === "") return "none";
  if (typeof value === "number") return key.endsWith("_octets") ? octets(value) : key.endsWith("_seconds") ? span(value) : NUMBER.format(value);
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value)) return age(value) < 0 ? "in " + span(-age(value)) : span(age(value)) + " ago";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

// ---- Status

function panel(title, content) {
  const id = "title-" + title.toLowerCase().replaceAll(" ", "-");
  const made = element("section");
  const heading = element("h2", title);
  heading.id = id;
  made.setAttribute("aria-labelledby", id);
  return append(made, heading, content);
}

function facts(pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) list.append(append(element("div"), element("dt", name), element("dd", value)));
  return list;
}

function row(name, state, kind, detail, fault) {
  const title = append(element("span", undefined, "name"), name);
  const made = append(element("li"), append(element("div", undefined, "row"), title, element("span", state, kind)));
  if (detail) made.append(element("div", detail, "detail"));
  if (fault) made.append(element("div", fault, "detail fault"));
  return made;
}

const list = (rows) => append(element("ul"), ...rows);

function subscribers(each) {
  const waits = each.backlog > 0;
  const detail = [];
  if (each.oldest_unread) detail.push("oldest " + span(age(each.oldest_unread)) + " ago");
  if (each.retries) detail.push(NUMBER.format(each.retries) + " retries");
  const fault = [];
  if (each.given_up) fault.push(NUMBER.format(each.given_up) + " given up");
  if (each.lost) fault.push(NUMBER.format(each.lost) + " lost");
  if (each.last_error) fault.push(each.last_error);
  const [kind, ...name] = each.name.split(":");
  const about = append(element("span"), element("span", kind + " ", "kind"), name.join(":"));
  return row(about, each.paused ? "paused" : waits ? NUMBER.format(each.backlog) + " waiting" : "up to date", waits ? "open" : "done", detail.join(", "), fault.join(", "));
}

function remotes(each) {
  const detail = [NUMBER.format(each.new_today || 0) + " new today"];
  if (each.last_success) detail.push("last success " + span(age(each.last_success)) + " ago");
  if (each.parked) detail.push(NUMBER.format(each.parked) + " parked");
  return row(each.remote + (each.folder ? "/" + each.folder : ""), each.state, each.last_error ? "fault" : "done", detail.join(", "), each.last_error);
}

function certificate(each) {
  const left = -age(each.expires) / DAY;
  return row(each.file.split("/").pop(), left < 0 ? "expired" : Math.floor(left) + " days left", left < 14 ? "fault" : "done", "until " + new Date(each.expires).toLocaleDateString());
}

// What other parts of the server say of themselves, in the order of its keys.
function other(key, value) {
  if (Array.isArray(value)) {
    const rows = value.map((each) => {
      if (typeof each !== "object" || each === null) return element("li", shown(key, each));
      const [first, ...more] = Object.entries(each).filter(([, value]) => value !== null && value !== "");
      return row(first ? shown(...first) : "", "", "", more.map(([key, value]) => words(key).toLowerCase() + " " + shown(key, value)).join(", "));
    });
    return rows.length ? panel(words(key), list(rows)) : null;
  }
  return panel(words(key), facts(Object.entries(value).map(([key, value]) => [words(key), shown(key, value)])));
}

const KNOWN = ["subscribers", "remotes", "certificates", "counters", "listeners"];

function problems(status) {
  const found = [];
  const free = status.disk_free_octets;
  if (free !== null && free < status.min_free_octets) found.push("The disk has " + octets(free) + " free, less than mail.min_free. Mail is refused for now.");
  else if (free !== null && free < 2 * status.min_free_octets) found.push("The disk has only " + octets(free) + " free. Below " + octets(status.min_free_octets) + ", mail is refused.");
  for (const each of status.certificates || []) {
    const left = -age(each.expires) / DAY;
    if (left < 14) found.push(left < 0 ? "The certificate " + each.file + " has expired." : "The certificate " + each.file + " expires in " + Math.floor(left) + " days.");
  }
  for (const each of status.subscribers || []) {
    if (each.given_up) found.push(each.name + " gave up " + NUMBER.format(each.given_up) + " events.");
    if (each.lost) found.push(each.name + " lost " + NUMBER.format(each.lost) + " events: the journal dropped them unread.");
    if (each.oldest_unread && age(each.oldest_unread) > DAY) found.push(each.name + " has not taken an event for " + span(age(each.oldest_unread)) + ".");
  }
  for (const each of status.remotes || []) {
    if (each.last_error) found.push(each.remote + ": " + each.last_error);
  }
  for (const [key, value] of Object.entries(status)) {
    if (!KNOWN.includes(key) && value && typeof value === "object" && typeof value.last_error === "string") found.push(words(key) + ": " + value.last_error);
  }
  if (status.counters.session_panics) found.push(NUMBER.format(status.counters.session_panics) + " sessions ended by a fault of the program; see the log.");
  if (status.sessions > 0.9 * status.sessions_limit) found.push(status.sessions + " of " + status.sessions_limit + " connections are in use.");
  return found;
}

function showProblems(title, found) {
  $("wrong").className = found.length ? "bad" : "";
  if ($("wrong-title").textContent !== title) $("wrong-title").textContent = title;
  $("wrong").querySelector("ul").replaceChildren(...found.map((each) => element("li", each)));
}

function showStatus(status) {
  $("host").textContent = status.hostname;
  document.title = status.hostname + " - mailbell";
  const found = problems(status);
  showProblems(found.length ? (found.length > 1 ? found.length + " things are" : "One thing is") + " wrong" : "All is well", found);
  shownAt = new Date();

  const panels = [];
  const all = status.subscribers || [];
  panels.push(panel("Readers", all.length ? list(all.map(subscribers)) : element("p", "No pipe and no hook is configured.", "detail")));
  if (status.remotes && status.remotes.length) panels.push(panel("Mail on other servers", list(status.remotes.map(remotes))));
  for (const [key, value] of Object.entries(status)) {
    if (value && typeof value === "object" && !KNOWN.includes(key)) panels.push(other(key, value));
  }
  if (status.certificates && status.certificates.length) panels.push(panel("Certificates", list(status.certificates.map(certificate))));
  const counters = status.counters;
  panels.push(panel("Server", facts([
    ["Running for", span(status.uptime_seconds)],
    ["Messages accepted", NUMBER.format(counters.messages_accepted)],
    ["Messages refused", NUMBER.format(counters.messages_refused)],
    ["Logins that failed", NUMBER.format(counters.login_failures)],
    ["Connections", status.sessions + " of " + status.sessions_limit],
    ["Free on the disk", status.disk_free_octets === null ? "unknown" : octets(status.disk_free_octets)],
  ])));
  if (status.listeners) panels.push(panel("Listens on", facts(status.listeners.map((each) => [each.protocol, each.address]))));
  $("side").replaceChildren(...panels.filter(Boolean));
  $("foot").textContent = "mailbell " + status.version + ", process " + status.pid;
  $("main").hidden = false;
}

async function look() {
  try {
    const status = await (await ask("/status")).json();
    showStatus(status);
    return status;
  } catch (error) {
    // A look that began before a restart may fail after the stream is back.
    if (error.message !== NEEDS_TOKEN && !isLive) connection("off", begun ? "No connection, trying again" : "No connection: " + error.message);
    return null;
  }
}

// ---- Events

function connection(kind, text) {
  if ($("link").textContent === text) return;
  $("link").className = kind;
  $("link").textContent = text;
  if (kind === "off" && shownAt) showProblems("There is no connection to the server", ["What is shown here is of " + TIME.format(shownAt) + "."]);
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

function put(item) {
  $("list").prepend(item);
  while ($("list").children.length > MOST) $("list").lastChild.remove();
  $("none").hidden = true;
}

function showEvent(event) {
  const stored = new Date(event.timestamp);
  const time = element("time", stored.toDateString() === new Date().toDateString() ? TIME.format(stored) : DATE.format(stored));
  time.dateTime = event.timestamp;
  time.title = stored.toLocaleString();
  const item = element("li", undefined, begun && age(event.timestamp) < 10 ? "fresh" : "");
  item.dataset.seq = event.seq;
  const subject = element("span", event.subject || "(no subject)", "subject");
  const from = element("span", event.from || event.mail_from || "(no sender)", "from");
  const more = element("span", (event.via === "smtp" ? "" : event.via + ", ") + octets(event.size), "more");
  put(append(item, time, subject, element("span", event.user, "to"), from, more));
  $("count").textContent = NUMBER.format(event.seq) + " since the beginning";
}

function showLost(lost) {
  const count = lost.to - lost.from + 1;
  put(append(element("li"), element("span", NUMBER.format(count) + (count > 1 ? " events are" : " event is") + " not in the journal any more.", "gap")));
}

// One event of the stream: lines up to an empty one.
function dispatch(lines) {
  const fields = {};
  for (const line of lines) {
    const at = line.indexOf(":");
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1).replace(/^ /, "");
  }
  const id = Number(fields.id || 0);
  if (fields.data && id > (last ?? 0)) {
    if (fields.event === "MessageNew") {
      showEvent(JSON.parse(fields.data));
      clearTimeout(refresh);
      refresh = setTimeout(look, 300);
    } else if (fields.event === "lost" && last !== null) {
      showLost(JSON.parse(fields.data));
    }
  }
  if (id) last = Math.max(last ?? 0, id);
}

async function follow(from) {
  const headers = last === null ? {} : { "Last-Event-ID": String(last) };
  const abort = new AbortController();
  const reply = await ask("/events?from=" + from, headers, abort.signal);
  isLive = true;
  connection("live", "Live");
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let lines = [];
  for (;;) {
    const timer = setTimeout(() => abort.abort(), SILENCE);
    const { value, done } = await reader.read();
    clearTimeout(timer);
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const line of parts) {
      if (line) lines.push(line);
      else dispatch(lines.splice(0));
    }
  }
}

const pause = (time) => new Promise((wake) => setTimeout(wake, time));

async function start() {
  let from = null;
  while (!isLoggedOut()) {
    try {
      const status = await look();
      if (status) {
        from ??= Math.max(1, status.last_seq - BACKLOG + 1);
        begun = true;
        await follow(from);
      }
    } catch (error) {
      if (error.message === NEEDS_TOKEN) return;
    } finally {
      isLive = false;
    }
    if (begun && !isLoggedOut()) connection("off", "No connection, trying again");
    await pause(PAUSE);
  }
}

setInterval(() => {
  if (begun && !document.hidden && !isLoggedOut()) look();
}, STATUS);
start();
