"use strict";
// What the page shows, unpacked from the text it came in.

async function inflated(base64, format) {
  const text = atob(base64),
    bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function contentOf(base64) {
  return JSON.parse(new TextDecoder().decode(await inflated(base64, "gzip")));
}
