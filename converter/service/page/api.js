// Requests to the server that the page came from, with the tab's key.
const PART = 8 << 20;
const base = new URL(".", document.baseURI);

export const key = {
  get: () => sessionStorage.getItem("key"),
  set: (value) => sessionStorage.setItem("key", value),
  forget: () => sessionStorage.removeItem("key"),
};

export class Refused extends Error {
  constructor(status, told) {
    const detail = told?.detail;
    const text = Array.isArray(detail) ? detail.map((one) => `${one.loc.join(".")}: ${one.msg}`).join("\n") : detail;
    const findings = (told?.findings ?? []).map((one) => `${one.where}: ${one.message} ${one.remedy ?? ""}`);
    super(findings.length ? findings.join("\n") : text || `The server answered ${status}.`);
    this.status = status;
  }
}

export async function ask(method, path, { body, headers, signal } = {}) {
  const isPlain = body === undefined || body instanceof Blob;
  const answer = await fetch(new URL(path, base), {
    method,
    signal,
    body: isPlain ? body : JSON.stringify(body),
    headers: {
      Authorization: `Bearer ${key.get()}`,
      ...(isPlain ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
  });
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => null));
  return answer;
}

export const json = async (...given) => (await ask(...given)).json();

// Send a file, from where an earlier try stopped; its digest. What the server has is not sent again.
export async function upload(file, tell) {
  tell(`Reading ${file.name} …`);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  const digest = `sha256:${[...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  let found = await json("POST", "v1/uploads", { body: { name: file.name, size: file.size, digest } });
  while (!found.complete) {
    tell(`Sending ${file.name}: ${Math.floor((100 * found.offset) / file.size)} %`);
    const part = file.slice(found.offset, found.offset + PART);
    const headers = { "Upload-Offset": String(found.offset) };
    found = await json("PATCH", `v1/uploads/${found.id}`, { body: part, headers });
  }
  return digest;
}

// Server-sent events behind a position, as the HTML standard has them; EventSource sends no key.
export async function* events(path, after, signal) {
  const answer = await ask("GET", path, { signal, headers: { "Last-Event-ID": String(after) } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block.split("\n").filter((line) => !line.startsWith(":")).map((line) => line.split(/: ?(.*)/s, 2)),
      );
      if (fields.data) yield { id: Number(fields.id), kind: fields.event, data: JSON.parse(fields.data) };
    }
  }
}
