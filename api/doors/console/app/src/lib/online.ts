/** Whether there is a network, and trying again what found none. */
import { signal } from "@preact/signals";

/** What failed for want of an answer is tried again after this time (milliseconds). */
export const RETRY_MS = 5000;

export const online = signal(navigator.onLine);
addEventListener("online", () => (online.value = true));
addEventListener("offline", () => (online.value = false));

/** Call once when the network is back, or after a while; the returned function takes it back. */
export function tryLater(call: () => void): () => void {
  const end = () => {
    clearTimeout(timer);
    removeEventListener("online", now);
  };
  const now = () => {
    end();
    call();
  };
  const timer = setTimeout(now, RETRY_MS);
  addEventListener("online", now);
  return end;
}
