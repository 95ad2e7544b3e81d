// The Vercel AI SDK over its provider for OpenAI-compatible servers.
import assert from "node:assert/strict";
import test from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, embedMany, generateObject, generateText, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "kvmesh",
  baseURL: `${process.env.KVMESH_URL}/v1`,
  apiKey: "none",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider(process.env.KVMESH_CHAT_MODEL);
const embeddings = provider.textEmbeddingModel(process.env.KVMESH_EMBEDDING_MODEL);
const trip = z.object({ city: z.enum(["Paris", "Rome"]), days: z.number().int().min(1).max(9), byTrain: z.boolean() });
const prompt = "Book a trip to Rome by train for three days.";
// What the provider sends on as the request's own field.
const providerOptions = { kvmesh: { chat_template_kwargs: { enable_thinking: false } } };
const brief = { maxRetries: 0, temperature: 0, maxOutputTokens: 200, providerOptions };
// JSON may have any number of line breaks, and so small a model goes on with them for ever; penalties end that.
const noLoops = { ...brief, frequencyPenalty: 1 };
const forced = {
  ...noLoops,
  toolChoice: "required",
  providerOptions: { kvmesh: { ...providerOptions.kvmesh, parallel_tool_calls: false } },
};
const bookTrip = tool({ description: "Book a trip.", inputSchema: trip });

test("generateText", async () => {
  const answer = await generateText({ model, prompt: "What is kvmesh?", ...brief, maxOutputTokens: 16 });
  assert.ok(answer.text);
  assert.ok(answer.usage.outputTokens <= 16 && answer.usage.inputTokens > 0);
});

test("streamText says the same", async () => {
  const options = { model, prompt: "What is kvmesh?", ...brief, maxOutputTokens: 16 };
  const stream = streamText(options);
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  assert.equal(text, (await generateText(options)).text);
  assert.equal(await stream.finishReason, "length");
  assert.equal((await stream.usage).outputTokens, 16);
});

test("a tool is called", async () => {
  const answer = await generateText({ model, prompt, tools: { bookTrip }, ...forced });
  assert.equal(answer.finishReason, "tool-calls");
  trip.parse(answer.toolCalls[0].input);
});

test("a tool is called in a stream", async () => {
  const stream = streamText({ model, prompt, tools: { bookTrip }, ...forced });
  await stream.consumeStream();
  const calls = await stream.toolCalls;
  trip.parse(calls[0].input);
});

test("a tool's result goes back", async () => {
  const answer = await generateText({
    model,
    ...brief,
    tools: { bookTrip },
    messages: [
      { role: "user", content: prompt },
      { role: "assistant", content: [{ type: "tool-call", toolCallId: "call_1", toolName: "bookTrip", input: { city: "Rome", days: 3, byTrain: true } }] },
      { role: "tool", content: [{ type: "tool-result", toolCallId: "call_1", toolName: "bookTrip", output: { type: "text", value: "booked" } }] },
    ],
    maxOutputTokens: 8,
  });
  assert.ok(answer.usage.outputTokens > 0);
});

test("generateObject", async () => {
  const answer = await generateObject({ model, prompt, schema: trip, ...noLoops });
  trip.parse(answer.object);
});

test("streamObject", async () => {
  const stream = streamObject({ model, prompt, schema: trip, ...noLoops });
  let last;
  for await (const part of stream.partialObjectStream) last = part;
  trip.parse(last);
});

test("embed and embedMany", async () => {
  const one = await embed({ model: embeddings, value: "a cat", maxRetries: 0 });
  const many = await embedMany({ model: embeddings, values: ["a cat", "a dog"], maxRetries: 0 });
  assert.equal(one.embedding.length, 384);
  assert.equal(many.embeddings.length, 2);
});

test("an unknown model is not found", async () => {
  await assert.rejects(generateText({ model: provider("nobody"), prompt: "x", maxRetries: 0 }), (error) => error.statusCode === 404);
});
