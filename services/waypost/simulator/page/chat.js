"use strict";
// Text that a bot or a user wrote reaches the page through textContent only, never as markup.

const $ = (id) => document.getElementById(id);
const state = { number: "", from: "", name: "", hidden: false, version: "", listVersion: "", shown: new Map() };

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || `The simulator answered ${response.status}`);
  return answer;
}

function notice(text) {
  $("notice").textContent = text || "";
  $("notice").hidden = !text;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const day = (seconds) => new Date(seconds * 1000).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
const initial = (name) => (Array.from((name || "").trim())[0] || "?").toUpperCase();
const isPhone = (word) => !/^[A-Z]{2}\./.test(word);
const shownUser = (user) => (user.phone ? `+${user.phone}` : user.user_id);

// WhatsApp's formatting: *bold*, _italic_, ~struck~, ```mono```, and links.
const MARKS = /(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)])|```([^`]+)```|(?<![\w*])\*(\S(?:[^*\n]*\S)?)\*(?![\w*])|(?<![\w_])_(\S(?:[^_\n]*\S)?)_(?![\w_])|(?<![\w~])~(\S(?:[^~\n]*\S)?)~(?![\w~])/g;

function formatted(text, className = "words") {
  const node = make("p", className);
  let at = 0;
  for (const match of text.matchAll(MARKS)) {
    node.append(text.slice(at, match.index));
    const [whole, link, mono, bold, italic, struck] = match;
    if (link) node.append(anchor(link, link));
    else node.append(make(mono ? "code" : bold ? "strong" : italic ? "em" : "s", "", mono || bold || italic || struck));
    at = match.index + whole.length;
  }
  node.append(text.slice(at));
  return node;
}

function anchor(url, text) {
  const node = make("a", "", text);
  if (/^https?:\/\//i.test(url)) {
    node.href = url;
    node.target = "_blank";
    node.rel = "noopener noreferrer";
  }
  return node;
}

function ticks(status) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 18 12");
  svg.setAttribute("class", `ticks ${status === "read" || status === "played" ? "read" : ""}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", status);
  const lines = { accepted: ["M9 3.2v3l2 1.4M9 1a5 5 0 1 0 .01 0"], sent: ["M4 6.5 7.2 9.6 14 2.6"] }[status]
    || ["M1 6.5 4.2 9.6 11 2.6", "M7.4 8.9l.8.7L15 2.6"];
  for (const line of lines) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", line);
    svg.append(path);
  }
  return svg;
}

function card(kind, text) {
  const node = make("div", "file");
  node.append(make("b", "", kind), make("span", "", text));
  return node;
}

function media(kind, content) {
  if ((kind === "image" || kind === "sticker") && content.id) {
    const image = make("img");
    image.alt = content.caption || kind;
    image.src = `/_sim/media/${encodeURIComponent(content.id)}`;
    return image;
  }
  const file = card(kind, content.filename || (content.link ? "" : content.id || ""));
  if (content.link) file.append(anchor(content.link, content.filename || content.link));
  return file;
}

// Returns the nodes inside the bubble of a message, and the buttons below it.
function content(message) {
  const parts = [];
  const actions = [];
  const body = message.body || {};
  const reply = (label, answer, enabled = true) => {
    const button = make("button", "", label);
    button.type = "button";
    button.disabled = !enabled || message.from_user;
    button.addEventListener("click", () => send({ message: answer, context: message.wamid }));
    actions.push(button);
  };
  if (message.type === "template" && message.template) {
    const template = message.template;
    if (template.header) parts.push(make("h3", "", template.header));
    parts.push(formatted(template.body || ""));
    if (template.footer) parts.push(make("p", "footer", template.footer));
    for (const button of template.buttons || []) {
      const quick = button.type === "quick_reply";
      reply(button.text || button.type, { type: "button", button: { payload: button.payload, text: button.text } }, quick);
    }
  } else if (message.type === "interactive" && !message.from_user) {
    interactive(body, parts, actions, reply, message);
  } else if (["image", "video", "audio", "document", "sticker"].includes(message.type)) {
    parts.push(media(message.type, body));
    if (body.caption) parts.push(formatted(body.caption));
  } else if (message.type === "location") {
    parts.push(card("place", [body.name, body.address, `${body.latitude}, ${body.longitude}`].filter(Boolean).join(" · ")));
  } else if (message.type === "contacts") {
    for (const one of Array.isArray(body) ? body : []) parts.push(card("contact", (one.name || {}).formatted_name || ""));
  } else if (message.type === "reaction") {
    parts.push(formatted(body.emoji ? `Reacted ${body.emoji}` : "Removed the reaction"));
  } else {
    parts.push(formatted(message.text || `(${message.type})`));
  }
  return { parts, actions };
}

function interactive(body, parts, actions, reply, message) {
  const header = body.header || {};
  if (header.type === "text") parts.push(make("h3", "", header.text));
  else if (header.type && header[header.type]) parts.push(media(header.type, header[header.type]));
  if (body.body) parts.push(formatted(body.body.text || ""));
  if (body.footer) parts.push(make("p", "footer", body.footer.text || ""));
  const action = body.action || {};
  const parameters = action.parameters || {};
  if (body.type === "button") {
    for (const { reply: one } of action.buttons || []) {
      reply(one.title, { type: "interactive", interactive: { type: "button_reply", button_reply: { id: one.id, title: one.title } } });
    }
  } else if (body.type === "list") {
    const open = make("button", "", `☰  ${action.button}`);
    open.type = "button";
    open.addEventListener("click", () => showList(action, message));
    actions.push(open);
  } else if (body.type === "cta_url") {
    actions.push(anchor(parameters.url || "", parameters.display_text || ""));
  } else if (body.type === "location_request_message") {
    reply("Send location", { type: "location", location: { latitude: 45.4642, longitude: 9.19, name: "Piazza del Duomo" } });
  } else {
    reply(parameters.flow_cta || body.type, {}, false);
  }
}

function showList(action, message) {
  $("list-title").textContent = action.button || "";
  const rows = $("list-rows");
  rows.replaceChildren();
  for (const section of action.sections || []) {
    if (section.title) rows.append(make("h4", "", section.title));
    for (const row of section.rows || []) {
      const button = make("button", "row", row.title);
      button.type = "button";
      if (row.description) button.append(make("span", "", row.description));
      button.addEventListener("click", () => {
        $("list").close();
        const answer = { id: row.id, title: row.title };
        if (row.description) answer.description = row.description;
        send({ message: { type: "interactive", interactive: { type: "list_reply", list_reply: answer } }, context: message.wamid });
      });
      rows.append(button);
    }
  }
  $("list").showModal();
}

function bubble(message, first, quoted) {
  const item = make("li", `${message.from_user ? "mine" : ""} ${first ? "turn" : ""}`);
  const box = make("div", "bubble");
  const { parts, actions } = content(message);
  if (quoted) box.append(make("p", "quote", quoted.text || quoted.type));
  box.append(...parts);
  const meta = make("div", "meta");
  if (message.status === "failed") meta.append(make("span", "failed", `failed ${message.error || ""}`));
  meta.append(make("span", "", clock(message.time)));
  if (message.status !== "failed") meta.append(ticks(message.status));
  box.append(meta);
  const stack = make("div", actions.length ? "stack wide" : "stack");
  stack.append(box);
  if (actions.length) {
    const group = make("div", "actions");
    group.append(...actions);
    stack.append(group);
  }
  item.append(stack);
  return item;
}

// Draws a conversation. Nodes whose content is unchanged stay, so that focus and selection are not lost.
function render(conversation) {
  const list = $("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const byId = new Map(conversation.messages.map((message) => [message.wamid, message]));
  const nodes = [];
  const shown = new Map();
  const put = (key, fingerprint, build) => {
    const old = state.shown.get(key);
    const entry = old && old.fingerprint === fingerprint ? old : { fingerprint, node: build() };
    shown.set(key, entry);
    nodes.push(entry.node);
  };
  let lastDay = "";
  let lastFromUser = null;
  for (const message of conversation.messages) {
    const today = day(message.time);
    if (today !== lastDay) {
      put(`day ${today}`, today, () => {
        const item = make("li", "day");
        item.append(make("span", "", today));
        return item;
      });
      lastFromUser = null;
    }
    lastDay = today;
    const first = message.from_user !== lastFromUser;
    lastFromUser = message.from_user;
    put(message.wamid, JSON.stringify([message, first]), () => bubble(message, first, byId.get(message.context)));
  }
  if (conversation.typing) {
    put("typing", "", () => {
      const item = make("li", "typing turn");
      const box = make("div", "bubble");
      box.append(make("i"), make("i"), make("i"));
      item.append(box);
      return item;
    });
  }
  if (!conversation.messages.length) {
    put("empty", "", () => {
      const item = make("li", "empty");
      item.append(make("strong", "", "Say hello"), make("span", "", "The bot gets your messages through its signed webhook, as from WhatsApp."));
      return item;
    });
  }
  nodes.forEach((node, index) => {
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] || null);
  });
  while (list.children.length > nodes.length) list.lastChild.remove();
  state.shown = shown;
  if (atEnd) list.scrollTop = list.scrollHeight;
  const closes = conversation.window_closes_at;
  const hours = closes ? (closes - Date.now() / 1000) / 3600 : -1;
  $("window").hidden = !conversation.messages.length;
  $("window").classList.toggle("closed", hours <= 0);
  $("window").textContent = hours > 0 ? `24 h window: ${hours >= 1 ? `${Math.floor(hours)} h` : `${Math.ceil(hours * 60)} min`} left` : "24 h window closed";
}

async function refresh() {
  if (!state.number || !state.from) return;
  const query = new URLSearchParams({ number: state.number, from: state.from, version: state.version });
  const conversation = await ask(`/_sim/conversation?${query}`);
  if (conversation.unchanged) return;
  state.version = conversation.version;
  render(conversation);
}

async function refreshList() {
  if (!state.number) return;
  const answer = await ask(`/_sim/conversations?${new URLSearchParams({ number: state.number, version: state.listVersion })}`);
  if (answer.unchanged) return;
  state.listVersion = answer.version;
  $("conversations").replaceChildren(...answer.conversations.map((one) => {
    const item = make("li");
    const button = make("button");
    button.type = "button";
    button.title = shownUser(one);
    button.setAttribute("aria-current", String([one.user_id, one.phone && `+${one.phone}`].includes(state.from)));
    const avatar = make("span", "avatar", initial(one.name));
    avatar.setAttribute("aria-hidden", "true");
    button.append(avatar, make("strong", "", one.name), make("time", "", clock(one.time)), make("span", "last", one.text || "…"));
    button.addEventListener("click", () => open(shownUser(one), one.name));
    item.append(button);
    return item;
  }));
}

function open(from, name) {
  state.from = from;
  state.name = name || state.name;
  state.hidden = !isPhone(from);
  state.version = state.listVersion = "";
  state.shown = new Map();
  $("messages").replaceChildren();
  if (!state.hidden) $("phone").value = from;
  $("name").value = state.name;
  $("hidden").checked = state.hidden;
  $("subtitle").textContent = `You: ${state.name ? `${state.name}, ` : ""}${from}`;
  location.hash = new URLSearchParams({ number: state.number, from, name: state.name }).toString();
  notice("");
  $("text").focus();
  tick();
}

async function send(request) {
  const from = isPhone(state.from) ? { phone: state.from } : { user_id: state.from };
  if (state.name) from.name = state.name;
  try {
    const answer = await ask("/_sim/inbound", { number: state.number, from, ...request });
    const failed = answer.attempts.find((attempt) => attempt.status !== 200);
    if (answer.hint) notice(`Not delivered: ${answer.hint}.`);
    else if (failed) notice(`The webhook answered ${failed.status || failed.error}; the simulator will retry, as Meta does.`);
    else notice("");
  } catch (error) {
    notice(error.message);
  }
  $("messages").scrollTop = $("messages").scrollHeight;
  await refresh().catch(() => undefined);
}

const ATTACHMENTS = [
  ["Photo", { type: "image", image: { caption: "A photo" } }],
  ["Document", { type: "document", document: { filename: "invoice.pdf" } }],
  ["Voice message", { type: "audio", audio: { voice: true } }],
  ["Location", { type: "location", location: { latitude: 45.4642, longitude: 9.19, name: "Piazza del Duomo", address: "Milano" } }],
  ["Contact", { type: "contacts", contacts: [{ name: { formatted_name: "Grace Hopper", first_name: "Grace" }, phones: [{ phone: "+1 650 555 1234", type: "CELL" }] }] }],
  ["Unsupported message", { type: "unsupported", errors: [{ code: 131051, title: "Message type unknown" }], unsupported: { type: "poll_creation" } }],
];

// Reads the conversation and the list twice a second while the page is visible.
let timer;
async function tick() {
  clearTimeout(timer);
  try {
    if (!document.hidden) {
      await refresh();
      await refreshList();
    }
    if (state.offline) notice("");
    state.offline = false;
  } catch (error) {
    state.offline = true;
    notice(`The simulator does not answer: ${error.message}`);
  }
  clearTimeout(timer);
  timer = setTimeout(tick, 500);
}

function selectNumber(id) {
  state.number = id;
  const option = $("number").selectedOptions[0];
  $("title").textContent = option ? option.textContent : "No number yet";
  $("avatar").textContent = initial(option ? option.textContent : "W");
}

async function start() {
  for (const [label, message] of ATTACHMENTS) {
    const button = make("button", "", label);
    button.type = "button";
    button.addEventListener("click", () => {
      document.querySelector(".attach").open = false;
      send({ message: structuredClone(message) });
    });
    $("attachments").append(button);
  }
  const world = await ask("/_sim/world");
  const numbers = world.accounts.flatMap((account) => account.numbers);
  for (const number of numbers) {
    const option = make("option", "", `${number.verified_name} · ${number.display_phone_number}`);
    option.value = number.phone_number_id;
    $("number").append(option);
  }
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (!numbers.length) {
    const item = make("li", "empty");
    item.append(make("strong", "", "There is no number yet"), make("span", "", "Declare one with PUT /_sim/world, or start waypost dev."));
    $("messages").replaceChildren(item);
    setTimeout(() => location.reload(), 3000);
    return;
  }
  const asked = wanted.get("number");
  if (numbers.some((number) => number.phone_number_id === asked)) $("number").value = asked;
  selectNumber($("number").value);
  state.name = wanted.get("name") || "Ada";
  open(wanted.get("from") || "+393331234567", state.name);
}

$("number").addEventListener("change", () => {
  selectNumber($("number").value);
  open(state.from, state.name);
});
$("new-chat").addEventListener("submit", (event) => {
  event.preventDefault();
  state.name = $("name").value.trim();
  const digits = $("phone").value.replace(/[^0-9]/g, "");
  const user = `US.${Array.from(crypto.getRandomValues(new Uint8Array(20)), (byte) => byte % 10).join("")}`;
  open($("hidden").checked ? (isPhone(state.from) ? user : state.from) : `+${digits}`, state.name);
});
$("hidden").addEventListener("change", () => { $("phone").required = !$("hidden").checked; });
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  send({ text });
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});
document.addEventListener("visibilitychange", tick);
start().catch((error) => notice(error.message));
