/** Names of entries: bytes that are mostly UTF-8. Others come as lone surrogates (U+DC80 to U+DCFF). */

const isByte = (unit: number) => unit >= 0xdc80 && unit <= 0xdcff;
const encoder = new TextEncoder();

/** The bytes of a name or path. */
export function bytesOf(text: string): Uint8Array {
  const found: number[] = [];
  for (const sign of text) {
    const point = sign.codePointAt(0)!;
    if (sign.length === 1 && isByte(point)) found.push(point - 0xdc00);
    else found.push(...encoder.encode(sign));
  }
  return Uint8Array.from(found);
}

/** Percent-encoded, for a query or for one segment of an address. */
export function percent(text: string): string {
  let found = "";
  let plain = "";
  for (const sign of text) {
    const point = sign.codePointAt(0)!;
    if (sign.length === 1 && isByte(point)) {
      found += encodeURIComponent(plain) + "%" + (point - 0xdc00).toString(16).toUpperCase();
      plain = "";
    } else plain += point >= 0xd800 && point <= 0xdfff ? "\ufffd" : sign;
  }
  return found + encodeURIComponent(plain);
}

/** The text of percent-encoded bytes; what is no UTF-8 becomes lone surrogates. */
export function unpercent(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text.replace(/(?:%[0-9a-f]{2})+/gi, (run) => {
      const bytes = run.slice(1).split("%").map((pair) => parseInt(pair, 16));
      return surrogates(Uint8Array.from(bytes));
    });
  }
}

function surrogates(bytes: Uint8Array): string {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let found = "";
  let at = 0;
  while (at < bytes.length) {
    let taken = 0;
    for (let length = Math.min(4, bytes.length - at); length > 0 && !taken; length--) {
      try {
        const part = decoder.decode(bytes.subarray(at, at + length));
        if ([...part].length === 1) {
          found += part;
          taken = length;
        }
      } catch {
        /* shorter, then */
      }
    }
    if (!taken) found += String.fromCharCode(0xdc00 + bytes[at]!);
    at += taken || 1;
  }
  return found;
}

/** Base64 of the bytes of a path, for `Upload-Metadata`. */
export function base64(text: string): string {
  let binary = "";
  for (const byte of bytesOf(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

const ODD = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Whether a name has signs that are not seen, or bytes that are no text. */
export function isOdd(name: string): boolean {
  ODD.lastIndex = 0;
  return ODD.test(name);
}

/** The name with everything in it visible. */
export function shown(name: string): string {
  return name.replace(ODD, (sign) => {
    const unit = sign.charCodeAt(0);
    if (isByte(unit)) return `\\x${(unit - 0xdc00).toString(16)}`;
    if (unit < 0x20) return String.fromCharCode(0x2400 + unit);
    return `\\u${unit.toString(16).padStart(4, "0")}`;
  });
}

/** The parts of a name between which a line may break: behind a slash, dash or underscore, before a dot. */
export const words = (name: string): string[] => name.split(/(?<=[/_\-,;+=@&])(?=[^/_\-,;+=@&.])|(?<=[^/.])(?=\.[^.])/);

export const join = (directory: string, name: string) => (directory ? `${directory}/${name}` : name);
export const parent = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf("/")));
export const baseName = (path: string) => path.slice(path.lastIndexOf("/") + 1);

/** Another name beside one that is taken: `a (2).txt`. */
export function beside(name: string, number: number): string {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? `${name.slice(0, dot)} (${number})${name.slice(dot)}` : `${name} (${number})`;
}
