// OpenAI's SDK for Node talks Realtime over TLS, by its `ws` client and by a browser's WebSocket: what it heard, as one JSON line.
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";

const [baseURL, apiKey, model, way] = process.argv.slice(2);

async function open() {
  if (way === "ws") return new OpenAIRealtimeWS({ model }, new OpenAI({ baseURL, apiKey }));
  let key = apiKey;
  if (way === "secret") {
    const client = new OpenAI({ baseURL, apiKey });
    key = (await client.realtime.clientSecrets.create({ session: { type: "realtime", model } })).value;
  }
  const browser = new OpenAI({ baseURL, apiKey: key, dangerouslyAllowBrowser: true });
  return new OpenAIRealtimeWebSocket({ model, dangerouslyAllowBrowser: true }, browser);
}

const heard = [];
let said = "";
const session = await open();
const ended = new Promise((resolve, reject) => {
  session.on("error", reject);
  session.on("event", (event) => heard.push(event.type));
  session.on("session.created", () => {
    session.send({ type: "session.update", session: { type: "realtime", output_modalities: ["text"] } });
    session.send({
      type: "conversation.item.create",
      item: { type: "message", role: "user", content: [{ type: "input_text", text: "Hi" }] },
    });
    session.send({ type: "response.create" });
  });
  session.on("response.output_text.delta", (event) => (said += event.delta));
  session.on("response.done", (event) => {
    session.close();
    resolve(event.response.usage);
  });
  setTimeout(() => reject(new Error(`nothing was heard but ${heard}`)), 20_000).unref();
});
try {
  const usage = await ended;
  console.log(JSON.stringify({ heard: [...new Set(heard)], said, usage, key: session.url.href.includes(apiKey) }));
} catch (error) {
  console.log(JSON.stringify({ error: String(error.stack ?? error) }));
}
process.exit(0);
