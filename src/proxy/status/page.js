"use strict";
// Topics, client IDs and payloads are strangers' texts: they become text nodes, never markup.

const INTERVAL = 1000;
const byId = (id) => document.getElementById(id);
const number = (n) => n.toLocaleString("en");
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const WAYS = { to_broker: "→ broker", to_client: "→ client" };

function make(tag, text, classes = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = classes;
  return node;
}

function cell(text, classes) {
  return make("td", text, classes);
}

function lines(texts, classes) {
  const node = cell("", classes);
  node.append(...texts.map((text) => make("div", text)));
  return node;
}

function fill(id, rows, nothing) {
  const body = byId(id).tBodies[0];
  if (rows.length === 0) {
    const empty = cell(nothing, "empty");
    empty.colSpan = byId(id).tHead.rows[0].cells.length;
    rows = [[empty]];
  }
  body.replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells);
    return row;
  }));
}

function since(now, then) {
  const seconds = Math.max(0, Math.round((now - then) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function totals(status) {
  const all = [...status.rules, status.no_rule];
  const sum = (of) => all.reduce((total, rule) => total + of(rule), 0);
  const rejected = sum((rule) => rule.rejected.reduce((n, one) => n + one.count, 0));
  const clear = sum((rule) => rule.clear_to_broker + rule.clear_to_client);
  const shown = [
    ["connections", status.open, ""],
    ["sealed", sum((rule) => rule.sealed), "seal"],
    ["opened", sum((rule) => rule.opened), "seal"],
    ["in clear", clear, clear ? "clear" : ""],
    ["rejected", rejected, rejected ? "bad" : ""],
    ["broker failures", status.broker_failures, status.broker_failures ? "bad" : ""],
  ];
  byId("totals").replaceChildren(...shown.map(([name, value, classes]) => {
    const card = document.createElement("div");
    card.append(make("dt", name), make("dd", number(value), classes));
    return card;
  }));
}

function payload({ text, bytes }, classes) {
  const line = make("div", "", "line");
  if (text !== null) line.append(make("span", text, `theirs code ${classes}`));
  line.append(make("span", `${number(bytes)} bytes`, "size"));
  const node = cell("", "");
  node.append(line);
  return node;
}

function message(one) {
  return [
    cell(clock(one.at), "soft"),
    cell(WAYS[one.direction], "soft"),
    cell(one.topic, "theirs"),
    payload(one.broker, one.clear ? "clear" : "soft"),
    payload(one.client, one.clear ? "clear" : "seal"),
  ];
}

function rule(one) {
  const verdicts = Object.entries(one.verdicts).filter(([, count]) => count > 0);
  const rejected = one.rejected.map((r) => `${number(r.count)} ${r.reason} ${WAYS[r.direction]}`);
  return [
    cell(one.rule === null ? "none" : String(one.rule), "n soft"),
    cell(one.topics, "theirs code"),
    cell(one.payload, one.payload === "sealed" ? "seal" : "clear"),
    cell(number(one.sealed), "n"),
    cell(number(one.opened), "n"),
    cell(number(one.clear_to_broker + one.clear_to_client), "n"),
    cell(number(one.resent), "n"),
    lines(verdicts.map(([name, count]) => `${number(count)} ${name}`), ""),
    lines(rejected, "bad"),
  ];
}

function connection(one, now) {
  return [
    cell(one.client_id || "(none)", one.client_id ? "theirs" : "soft"),
    cell(one.version, ""),
    cell(since(now, one.since), ""),
    cell(number(one.to_broker), "n"),
    cell(number(one.to_client), "n"),
    cell(number(one.rejected), one.rejected ? "n bad" : "n"),
  ];
}

function rejection(one) {
  return [
    cell(clock(one.at), "soft"),
    cell(WAYS[one.direction], "soft"),
    cell(one.client_id, "theirs"),
    cell(one.topic, "theirs"),
    cell(one.reason, "bad"),
  ];
}

const VERIFIED = {
  nothing: "not verified",
  ca: "verified by its CA",
  pin: "verified by its pin",
  "ca and pin": "verified by its CA and its pin",
};

function broker({ verified_by, authority, standing, error }) {
  if (verified_by !== "authority") return [VERIFIED[verified_by], ""];
  if (standing === "vouched") return [`vouched for by ${authority}`, ""];
  if (standing === "pinned") return ["verified by a pin in the file of its device", ""];
  if (error !== null) return [`not vouched for: ${error}`, standing === "refused" ? "bad" : ""];
  return [`${authority} has to vouch for it`, ""];
}

function show(status) {
  const up = since(status.now, status.started);
  const [verified, classes] = broker(status.broker);
  byId("about").replaceChildren(
    `${status.version} · up ${up} · broker by ${status.links}, `,
    make("span", verified, classes),
  );
  totals(status);
  fill("messages", status.messages.slice(0, 12).map(message), "no message yet");
  const none = status.no_rule.rejected.length ? [status.no_rule] : [];
  fill("rules", [...status.rules, ...none].map(rule), "no rule");
  const rows = status.connections.map((one) => connection(one, status.now));
  const left = status.open - status.connections.length;
  if (left > 0 && rows.length >= 200) {
    const more = cell(`and ${number(left)} more`, "empty");
    more.colSpan = 6;
    rows.push([more]);
  }
  fill("connections", rows, "no client is connected");
  fill("rejections", status.rejections.map(rejection), "nothing was rejected");
}

async function update() {
  const state = byId("state");
  try {
    const answer = await fetch("/status.json", { cache: "no-store" });
    show(await answer.json());
    state.textContent = "live";
    state.className = "live";
  } catch {
    state.textContent = "the proxy does not answer";
    state.className = "lost";
  }
  setTimeout(update, document.hidden ? 5 * INTERVAL : INTERVAL);
}

update();
