// OpenAI's SDK for Node as a client of the gateway: a JSON line in names a call, a JSON line out says what came of it.
import OpenAI, { toFile } from "openai";
import { createInterface } from "node:readline";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

const recording = () => toFile(Buffer.alloc(48_044), "a.wav", { type: "audio/wav" });
const picture = () => toFile(Buffer.from([0x89, 0x50, 0x4e, 0x47]), "a.png", { type: "image/png" });
const all = async (items) => {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
};
const types = async (stream) => (await all(stream)).map((event) => event.type);
const bytes = async (answer) => Buffer.from(await answer.arrayBuffer());

const calls = {
  "completions.create": async (model) =>
    (await client.completions.create({ model, prompt: "A cat says" })).choices[0].text,
  "completions.create, streamed": async (model) =>
    (await all(await client.completions.create({ model, prompt: "A cat says", stream: true })))
      .map((chunk) => chunk.choices[0].text)
      .join(""),
  "embeddings.create": async (model) =>
    (await client.embeddings.create({ model, input: ["a"] })).data[0].embedding,
  "moderations.create": async (model) =>
    (await client.moderations.create({ model, input: "a" })).results[0].flagged,
  "images.generate": async (model) =>
    (await client.images.generate({ model, prompt: "a cat" })).data[0].b64_json,
  "images.generate, streamed": async (model) =>
    types(await client.images.generate({ model, prompt: "a cat", stream: true, partial_images: 1 })),
  "images.edit": async (model) =>
    (
      await client.images.edit({
        model,
        prompt: "a dog",
        image: [await picture(), await picture()],
        mask: await picture(),
      })
    ).data[0].b64_json,
  "images.edit, streamed": async (model) =>
    types(await client.images.edit({ model, prompt: "a dog", image: await picture(), stream: true })),
  "images.create_variation": async (model) =>
    (await client.images.createVariation({ model, image: await picture() })).data[0].b64_json,
  "audio.speech.create": async (model) =>
    (await bytes(await client.audio.speech.create({ model, input: "hi", voice: "alloy" }))).toString(),
  "audio.speech.create, as events": async (model) =>
    (
      await bytes(await client.audio.speech.create({ model, input: "hi", voice: "alloy", stream_format: "sse" }))
    ).includes("speech.audio.done"),
  "audio.transcriptions.create": async (model) =>
    (await client.audio.transcriptions.create({ model, file: await recording() })).text,
  "audio.transcriptions.create, verbose": async (model) =>
    (
      await client.audio.transcriptions.create({
        model,
        file: await recording(),
        response_format: "verbose_json",
        timestamp_granularities: ["word"],
      })
    ).duration,
  "audio.transcriptions.create, as subtitles": async (model) =>
    client.audio.transcriptions.create({ model, file: await recording(), response_format: "srt" }),
  "audio.transcriptions.create, streamed": async (model) =>
    types(await client.audio.transcriptions.create({ model, file: await recording(), stream: true })),
  "audio.translations.create": async (model) =>
    (await client.audio.translations.create({ model, file: await recording() })).text,
  objects: async (model) => {
    const there = { headers: { "x-relaygate-model": model } };
    const file = await client.files.create({ file: await toFile(Buffer.from("hello"), "a.txt"), purpose: "assistants" }, there);
    await client.files.retrieve(file.id);
    const content = await (await client.files.content(file.id)).text();
    if (content !== "hello") throw new Error(`another content: ${content}`);
    const listed = await all(client.files.list({ purpose: "assistants" }));
    if (!listed.some((item) => item.id === file.id)) throw new Error("not listed");
    const begin = { bytes: 4, filename: "a", mime_type: "text/plain", purpose: "assistants" };
    const upload = await client.uploads.create(begin, there);
    await client.uploads.parts.create(upload.id, { data: await toFile(Buffer.from("abcd"), "part") });
    const whole = await client.uploads.complete(upload.id, { part_ids: ["part_1"] });
    await client.files.retrieve(whole.file.id);
    await client.uploads.cancel((await client.uploads.create(begin, there)).id);
    const store = await client.vectorStores.create({ name: "s", file_ids: [file.id] });
    await client.vectorStores.retrieve(store.id);
    await client.vectorStores.update(store.id, { name: "t" });
    await all(client.vectorStores.list());
    const within = { vector_store_id: store.id };
    await all(client.vectorStores.search(store.id, { query: "cats" }));
    await client.vectorStores.files.create(store.id, { file_id: file.id });
    await client.vectorStores.files.retrieve(file.id, within);
    await client.vectorStores.files.update(file.id, { ...within, attributes: { a: "b" } });
    await all(client.vectorStores.files.list(store.id));
    await all(client.vectorStores.files.content(file.id, within));
    await client.vectorStores.files.delete(file.id, within);
    await client.vectorStores.fileBatches.create(store.id, { file_ids: [file.id] });
    await client.vectorStores.fileBatches.retrieve("vsfb_1", within);
    await all(client.vectorStores.fileBatches.listFiles("vsfb_1", within));
    await client.vectorStores.fileBatches.cancel("vsfb_1", within);
    await client.vectorStores.delete(store.id);
    const container = await client.containers.create({ name: "c" }, there);
    await client.containers.retrieve(container.id);
    await all(client.containers.list());
    await client.containers.files.create(container.id, { file: await toFile(Buffer.from("x"), "x") });
    await all(client.containers.files.list(container.id));
    await client.containers.files.retrieve("cfile_1", { container_id: container.id });
    await client.containers.files.content.retrieve("cfile_1", { container_id: container.id });
    await client.containers.files.delete("cfile_1", { container_id: container.id });
    await client.containers.delete(container.id);
    const conversation = await client.conversations.create({ metadata: { a: "b" } }, there);
    await client.conversations.retrieve(conversation.id);
    await client.conversations.update(conversation.id, { metadata: { a: "c" } });
    await client.conversations.items.create(conversation.id, {
      items: [{ role: "user", content: "hi", type: "message" }],
    });
    await all(client.conversations.items.list(conversation.id));
    await client.conversations.items.retrieve("msg_1", { conversation_id: conversation.id });
    await client.conversations.items.delete("msg_1", { conversation_id: conversation.id });
    await client.conversations.delete(conversation.id);
    await client.files.delete(file.id);
    try {
      await client.files.retrieve(file.id);
    } catch (error) {
      return error instanceof OpenAI.NotFoundError;
    }
    return false;
  },
  responses: async (model) => {
    const made = await client.responses.create({ model, input: "Hi" });
    const again = await client.responses.retrieve(made.id);
    if (again.output_text !== made.output_text) throw new Error("another response");
    await all(client.responses.inputItems.list(made.id));
    const next = await client.responses.create({ model, input: "Go on", previous_response_id: made.id });
    const later = await client.responses.create({ model, input: "Later", background: true });
    await client.responses.cancel(later.id);
    await client.responses.delete(next.id);
    try {
      await client.responses.retrieve(next.id);
    } catch (error) {
      return error instanceof OpenAI.NotFoundError;
    }
    return false;
  },
  calls: async (model) => {
    const sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n";
    const made = await client.realtime.calls.create({ sdp, session: { type: "realtime", model } }).asResponse();
    const id = made.headers.get("location").split("/").pop();
    await client.realtime.calls.refer(id, { target_uri: "tel:+15550100" });
    await client.realtime.calls.hangup(id);
    return (await made.text()).startsWith("v=0");
  },
  batches: async (model) => {
    const body = { model, messages: [{ role: "user", content: "hi" }], max_tokens: 9 };
    const line = { custom_id: "a", method: "POST", url: "/v1/chat/completions", body };
    const file = await client.files.create({
      file: await toFile(Buffer.from(JSON.stringify(line)), "b.jsonl"),
      purpose: "batch",
    });
    const batch = await client.batches.create({
      input_file_id: file.id,
      endpoint: "/v1/chat/completions",
      completion_window: "24h",
    });
    await client.batches.retrieve(batch.id);
    await all(client.batches.list());
    await client.batches.cancel(batch.id);
    return (await client.batches.retrieve(batch.id)).status;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { name, model } = JSON.parse(line);
  let told;
  try {
    told = { result: await calls[name](model) };
  } catch (error) {
    told = { error: String(error.stack ?? error) };
  }
  console.log(JSON.stringify(told));
}
