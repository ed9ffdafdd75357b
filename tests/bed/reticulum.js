// What a browser and a probe need of Hubs' Reticulum: the pages, /health, /api/v1/meta, and the Phoenix socket with an
// anonymous join, which is where a client gets dialog's address, TURN credentials and its permission token.
// It also serves what the pods for static assets, Spoke and thumbnails would, and the CORS proxy as far as it leads back here.
import { createHmac, randomUUID } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import jwt from "jsonwebtoken";
import { WebSocketServer } from "ws";
import { reportListening, setting } from "./listening.js";

const domain = setting("HUB_DOMAIN");
const permsKey = fs.readFileSync(setting("PERMS_KEY"), "utf8");
const turnSecret = setting("TURN_SECRET", "");
const turnPorts = setting("TURN_PORTS", "5349").split(",").map(Number);
const turnTtlSeconds = Number(setting("TURN_TTL", "120"));
// Room id → "open" or the reason for which joining is refused: "closed", "join_denied", "oauth_required".
const rooms = JSON.parse(setting("ROOMS", '{"open001":"open"}'));

const meta = { version: "1.0.20260522", phx_host: domain, phx_port: "443", pool: "ce" };
const contentSecurityPolicy = [
  "default-src 'none'",
  `script-src https://assets.${domain} 'self'`,
  `connect-src 'self' https://cors.${domain}:443 https://assets.${domain}:443 https://${domain}:443 ` +
    `wss://${domain}:4443 wss://${domain}:443 https://${domain}:4443 ` +
    `wss://stream.${domain}:4443 https://stream.${domain}:4443 data: blob:`,
  `style-src 'self' 'unsafe-inline' https://assets.${domain}`,
  `img-src 'self' data: blob: https://assets.${domain} https://cors.${domain}:443`,
  "media-src 'self' blob:",
  "base-uri 'none'",
].join("; ");
const settings = (pod) => `
<meta name="env:base_assets_path" content="https://assets.${domain}/${pod}/">
<meta name="env:reticulum_server" content="${domain}">
<meta name="env:cors_proxy_server" content="cors.${domain}">
<meta name="env:thumbnail_server" content="cors.${domain}/nearspark">`;
const page = `<!DOCTYPE html>
<html><head>${settings("hubs")}
<meta name="ret:version" content="${meta.version}">
<meta name="ret:phx_host" content="${meta.phx_host}">
<meta name="ret:pool" content="${meta.pool}">
<title>Hubs</title>
<link rel="apple-touch-icon" href="/app-icon.png">
<script src="https://assets.${domain}/hubs/client.js"></script>
</head><body></body></html>
`;
const spokePage = `<!DOCTYPE html>
<html><head>${settings("spoke")}
<title>Spoke</title>
<script src="https://assets.${domain}/spoke/spoke.js"></script>
</head><body></body></html>
`;
// One white pixel.
const picture = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==",
  "base64",
);
const client = await build({
  entryPoints: [fileURLToPath(new URL("client.js", import.meta.url))],
  bundle: true,
  format: "iife",
  globalName: "hubs",
  write: false,
});

const server = http.createServer((request, response) => {
  // On the name of the CORS proxy, a URL in the place of the path is to be fetched, here from nobody but ourselves.
  const isProxied = request.headers.host?.startsWith("cors.") && request.url.startsWith(`/https://${domain}/`);
  const { pathname } = new URL(isProxied ? request.url.slice(1) : request.url, `https://${domain}`);
  const room = pathname.slice(1).split("/")[0];
  const answer = (status, type, body) => {
    response.writeHead(status, { "Content-Type": type });
    response.end(request.method === "HEAD" ? undefined : body);
  };
  const answerPage = (entityType) => {
    response.setHeader("hub-name", "Hubs");
    response.setHeader("hub-entity-type", entityType);
    response.setHeader("content-security-policy", contentSecurityPolicy);
    answer(200, "text/html; charset=utf-8", page);
  };
  if (pathname === "/health") answer(200, "text/plain; charset=utf-8", "ok");
  else if (pathname === "/api/v1/meta") answer(200, "application/json; charset=utf-8", JSON.stringify(meta));
  else if (pathname === "/hubs/client.js") answer(200, "text/javascript; charset=utf-8", client.outputFiles[0].text);
  else if (pathname === "/app-icon.png") answer(200, "image/png", picture);
  else if (pathname === "/spoke") answer(200, "text/html; charset=utf-8", spokePage);
  else if (pathname === "/spoke/spoke.js") answer(200, "text/javascript; charset=utf-8", "");
  else if (pathname.startsWith("/nearspark/thumbnail/")) answer(200, "image/png", picture);
  else if (pathname === "/") answerPage("hub");
  else if (room in rooms) answerPage("room");
  else answer(404, "text/plain; charset=utf-8", "Invalid URL.");
});

new WebSocketServer({ server, path: "/socket/websocket" }).on("connection", (socket) => {
  const sessionId = randomUUID();
  socket.on("message", (frame) => {
    const [joinRef, ref, topic, event, payload] = JSON.parse(frame);
    const [status, response] = answerEvent(topic, event, payload, sessionId);
    socket.send(JSON.stringify([joinRef, ref, topic, "phx_reply", { status, response }]));
  });
});

function answerEvent(topic, event, payload, sessionId) {
  if (topic === "phoenix" && event === "heartbeat") return ["ok", {}];
  if (topic === "ret" && event === "phx_join") return ["ok", { vapid_public_key: "", session_id: sessionId }];
  const hubId = topic.startsWith("hub:") ? topic.slice("hub:".length) : undefined;
  if (hubId === undefined) return ["error", { reason: "unmatched topic" }];
  if (event === "phx_join") return join(hubId, payload, sessionId);
  if (event === "get_host") return ["ok", mediaServer()];
  if (event === "refresh_perms_token") return ["ok", { perms_token: permsToken(hubId) }];
  if (event === "phx_leave") return ["ok", {}];
  return ["error", { reason: "unknown event" }];
}

function join(hubId, payload, sessionId) {
  if (!payload?.profile || !payload?.context) return ["error", { reason: "join crashed" }];
  if (!(hubId in rooms)) return ["error", { message: "No such Hub", reason: "not_found" }];
  if (rooms[hubId] !== "open") return ["error", { reason: rooms[hubId] }];
  return [
    "ok",
    {
      session_id: sessionId,
      session_token: "",
      subscriptions: { web_push: false, favorites: false },
      perms_token: permsToken(hubId),
      hub_requires_oauth: false,
      hubs: [{ hub_id: hubId, name: "Test room", slug: "test-room", entry_mode: "allow", ...mediaServer() }],
    },
  ];
}

// Where dialog is, and credentials for TURN as coturn's REST scheme makes them: good for two minutes.
function mediaServer() {
  return { host: `stream.${domain}`, port: 4443, turn: turnCredentials() };
}

function turnCredentials() {
  if (!turnSecret) return { enabled: false };
  const username = `${Math.floor(Date.now() / 1000) + turnTtlSeconds}:coturn`;
  const credential = createHmac("sha1", turnSecret).update(username).digest("base64");
  return { enabled: true, username, credential, transports: turnPorts.map((port) => ({ port })) };
}

function permsToken(hubId) {
  const claims = { aud: "ret_perms", sub: `_${hubId}`, hub_id: hubId, account_id: "", join_hub: true, voice_chat: true };
  return jwt.sign(claims, permsKey, { algorithm: "RS512", expiresIn: "5m" });
}

server.listen(Number(setting("PORT", "0")), setting("LISTEN_IP", "127.0.0.1"), () => reportListening(server));
