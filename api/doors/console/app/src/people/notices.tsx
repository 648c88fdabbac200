/** What concerns the person: thresholds of quotas that were reached. */
import { signal } from "@preact/signals";
import { get, post } from "../lib/api";
import { size } from "../lib/format";
import { can } from "../lib/session";
import { t } from "../texts";
import { Button, Time } from "../ui/controls";
import { Dialog, openDialog } from "../ui/dialog";

interface Notice {
  id: string;
  kind: string;
  at: string;
  read: boolean;
  volume: string;
  percent: number;
  used_bytes: number;
  limit_bytes: number;
}
const LOOK_MS = 120_000;
const notices = signal<Notice[]>([]);

async function look(): Promise<void> {
  if (!can("notices") || document.hidden) return;
  // Without an answer the bell stays as it is; the next look asks again.
  await get<{ notices: Notice[] }>("/v1/notices").then((page) => (notices.value = page.notices), () => undefined);
}

/** Look for notices now and then, until the returned function is called. */
export function followNotices(): () => void {
  void look();
  const timer = setInterval(() => void look(), LOOK_MS);
  return () => {
    clearInterval(timer);
    notices.value = [];
  };
}

export function Bell() {
  const unread = notices.value.filter((one) => !one.read).length;
  if (!notices.value.length) return null;
  return (
    <Button kind="quiet" icon="warning" onClick={() => openDialog((close) => <Notices onClose={close} />)}>
      {unread ? t("notices.unread", { n: unread }) : t("notices")}
    </Button>
  );
}

function Notices({ onClose }: { onClose: () => void }) {
  const end = () => {
    const unread = notices.value.filter((one) => !one.read);
    notices.value = notices.value.map((one) => ({ ...one, read: true }));
    for (const one of unread) void post(`/v1/notices/${one.id}/read`).catch(() => undefined);
    onClose();
  };
  return (
    <Dialog title={t("notices")} onClose={end}>
      <ul class="body items">
        {notices.value.map((one) => (
          <li key={one.id} class="line">
            <div class="grow">{t("notices.quota", { volume: one.volume, percent: one.percent, used: size(one.used_bytes), limit: size(one.limit_bytes) })}</div>
            <span class="muted"><Time at={one.at} /></span>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
