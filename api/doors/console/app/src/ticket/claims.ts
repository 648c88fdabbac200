/** What a ticket says. It is read, not checked: the service checks it on every request. */
import { exactMoment } from "../lib/format";
import { t } from "../texts";

export interface Ticket {
  op?: string;
  /** The end, in seconds since 1970. */
  exp: number;
  session: string;
  /** A directory: takes files and folders. */
  tree?: boolean;
  relpath?: string;
  /** The most bytes of one file. */
  size: number;
  /** The service keeps the path of this link. */
  selection?: string;
  /** An archive of several entries. */
  operation?: string;
  archive?: boolean;
  filename?: string;
  files?: string[];
}

export const token = new URLSearchParams(location.search).get("token") ?? "";

/** The claims of the ticket (RFC 7519 §3); raises what is no ticket. */
export function claims(): Ticket {
  const part = token.split(".")[1] ?? "";
  const bytes = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
  const found = JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (sign) => sign.charCodeAt(0)))) as Ticket;
  if (typeof found.exp !== "number") throw new TypeError("no claims");
  return found;
}

/** A path of the service with the ticket; relative, so that the page works below any path. */
export const withToken = (path: string) => `${path}?token=${encodeURIComponent(token)}`;

export const ends = (ticket: Ticket) => t("ticket.ends", { time: exactMoment(new Date(ticket.exp * 1000).toISOString()) });
