/** Downloads are the browser's own, by ticket: nothing is collected in memory. */
import { post } from "../lib/api";
import { join } from "../lib/names";
import type { Entry } from "./entries";

interface Ticket {
  url: string;
  token: string;
}

/** Let the browser download an address. */
export function begin(url: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = "";
  document.body.append(link);
  link.click();
  link.remove();
}

/** Download one file as it is. */
export async function downloadFile(base: string, path: string): Promise<void> {
  begin((await post<Ticket>(`${base}/tickets`, { act: "download", path })).url);
}

/** Download some entries as one archive. */
export async function downloadArchive(base: string, paths: string[], format: string): Promise<void> {
  const ticket = await post<Ticket>(`${base}/tickets`, { act: "archive", paths });
  begin(`${ticket.url}&format=${format}`);
}

export const FORMATS = ["zip", "tar", "tar.gz", "tar.zst"];

export async function download(base: string, directory: string, entries: Entry[]): Promise<void> {
  const [only] = entries;
  if (entries.length === 1 && only!.kind === "file") return downloadFile(base, join(directory, only!.name));
  return downloadArchive(base, entries.map((one) => join(directory, one.name)), "zip");
}
