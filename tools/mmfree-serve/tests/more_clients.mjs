// LangChain's and Vercel's clients for Node against the server: prints what they got of one conversation, by how it was asked for.
//
//     node more_clients.mjs MODULES BASE PROMPT SEED

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, baseURL, prompt, seed] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)));

const { ChatOpenAI } = await load("@langchain/openai");
const { generateText, streamText } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const answers = {};

const chat = new ChatOpenAI({
    model: "demo",
    apiKey: "none",
    maxTokens: 24,
    maxRetries: 0,
    modelKwargs: { seed: Number(seed) },
    configuration: { baseURL },
});
const told = (message) => ({
    text: message.content,
    input: message.usage_metadata.input_tokens,
    output: message.usage_metadata.output_tokens,
});
answers["LangChain for Node"] = told(await chat.invoke(prompt));
let whole;
for await (const chunk of await chat.stream(prompt)) {
    whole = whole === undefined ? chunk : whole.concat(chunk);
}
answers["LangChain for Node, streamed"] = told(whole);

const model = createOpenAICompatible({ name: "mmfree", baseURL, includeUsage: true }).chatModel("demo");
const ask = { model, prompt, seed: Number(seed), maxOutputTokens: 24, maxRetries: 0 };
const { text, usage } = await generateText(ask);
answers["AI SDK"] = { text, input: usage.inputTokens, output: usage.outputTokens };
const streamed = streamText({ ...ask, onError: ({ error }) => { throw error; } });
let pieces = "";
for await (const piece of streamed.textStream) {
    pieces += piece;
}
const end = await streamed.usage;
answers["AI SDK, streamed"] = { text: pieces, input: end.inputTokens, output: end.outputTokens };
console.log(JSON.stringify(answers));
