/** A ticket to download: one link, and for archives one for each format. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { size } from "../lib/format";
import { shown } from "../lib/names";
import { t } from "../texts";
import { Icon } from "../ui/icon";
import { ends, withToken, type Ticket } from "./claims";
import { Shown } from "./shown";

const PACKED_ZIP = "zip-deflate";
const FORMATS = ["tar", "tar.gz", PACKED_ZIP];

export function Download({ ticket }: { ticket: Ticket }) {
  const isArchive = Boolean(ticket.operation || ticket.archive);
  const link = withToken(ticket.operation ? "download-archive" : "download");
  const name = ticket.relpath || ticket.filename || (ticket.files ?? []).join(", ");
  const shownName = name ? shown(name) : t("ticket.selected");
  const about = useSignal(`${shownName}. ${ends(ticket)}`);
  const refused = useSignal(false);
  useEffect(() => {
    if (isArchive) return; // its length is known only after its plan
    const look = async () => {
      const answer = await fetch(link, { method: "HEAD" });
      if (answer.status === 401 || answer.status === 403) {
        refused.value = true;
        about.value = t("ticket.not-valid");
      } else if (!answer.ok) about.value = t("ticket.absent", { name: shownName });
      else if (answer.headers.has("Content-Length"))
        about.value = `${shownName} (${size(Number(answer.headers.get("Content-Length")))}). ${ends(ticket)}`;
    };
    look().catch(() => undefined); // the link itself says what is wrong
  }, []);
  return (
    <Shown title="ticket.download" about={about.value}>
      <section id="download" hidden={refused.value}>
        <p class="acts"><a id="link" class="button main" href={link}><Icon name="download" /><span>{t("entry.download")}</span></a></p>
        <p id="formats" class="acts" hidden={!isArchive}>
          <span>{t("ticket.formats")}</span>
          {FORMATS.map((format) => <a key={format} href={`${link}&format=${format}`}>{format === PACKED_ZIP ? t("ticket.zip") : format}</a>)}
          <span class="muted">{t("ticket.formats.hint")}</span>
        </p>
      </section>
    </Shown>
  );
}
