/**
 * The page for a ticket: an upload or a download without a sign-in. The ticket in the address is all that
 * it has. Its files are below `page/`, relative to its own address.
 */
import { render } from "preact";
import { applyTaste } from "../lib/taste";
import { t } from "../texts";
import { claims, token, type Ticket } from "./claims";
import { Download } from "./download";
import { Shown } from "./shown";
import { UploadPage } from "./upload";

function readable(): Ticket | null {
  try {
    return claims();
  } catch {
    return null;
  }
}

function Page() {
  const ticket = token ? readable() : null;
  if (!ticket) return <Shown title="ticket" about={t(token ? "ticket.not-valid" : "ticket.none")} />;
  if (ticket.exp * 1000 < Date.now()) return <Shown title="ticket" about={t("ticket.expired")} />;
  return ticket.op === "upload" ? <UploadPage ticket={ticket} /> : <Download ticket={ticket} />;
}

const root = document.getElementById("app")!;
root.replaceChildren();
await applyTaste();
render(<Page />, root);
