/** Documents of operators' routes. Null is unknown. */
export type Known = number | null;

export interface Attention {
  severity: "bad" | "warn" | "info";
  kind: string;
  target: string;
  text: string;
  act: string | null;
  facts: Record<string, unknown>;
}
export interface Lane {
  lane: string;
  running: number;
  slots: Known;
  waiting: Known;
  oldest_seconds: Known;
}
export interface Overview {
  at: string;
  health: { state: "ok" | "warn" | "bad"; text: string };
  attention: Attention[];
  nodes: { alive: number; draining: number; silent: number };
  volumes: { total: number; ready: number; partly: number; away: number; paused: number };
  jobs: { running: number; waiting: number; oldest_seconds: number };
  lanes: Array<Lane & { volume: string }>;
  failures: Array<{ error_code: string; jobs: number }>;
  throughput: { received_bytes_per_second: Known; sent_bytes_per_second: Known; as_of: string | null };
  uploads_open: number;
  events_unpublished: number;
}
export interface Series {
  interval_seconds: number;
  at: number[];
  received: Known[];
  sent: Known[];
  running: number[];
  waiting: number[];
  oldest_seconds: number[];
  volumes: Record<string, { read: Known[]; written: Known[] }>;
}
export interface Volume {
  name: string;
  capabilities: string[];
  paused: boolean;
  pause: { reason: string | null; by: string | null; at: string | null } | null;
  capacity: { capacity_bytes: Known; used_bytes: Known; inodes: Known; used_inodes: Known; as_of: string | null } | null;
  state: "ready" | "partly" | "away";
  state_reason: string | null;
  backend: string | null;
  path: string | null;
  nodes: Array<{ id: string; alive: boolean; proven: boolean; reason: string | null }>;
  lanes: Lane[];
  bandwidth: { bytes_per_second: Known; jobs: Known; streams: Known } | null;
  speed: {
    read_bytes_per_second: Known;
    written_bytes_per_second: Known;
    read_usec: Known;
    write_usec: Known;
    as_of: string | null;
  } | null;
  proof: { at: string | null; seconds: Known } | null;
  hidden: Hidden | null;
}
export interface Hidden {
  staging_bytes: Known;
  trash_bytes: Known;
  trash_overdue_seconds: Known;
  staging_overdue_seconds: Known;
  as_of: string | null;
}
export interface Node {
  id: string;
  version: string;
  alive: boolean;
  silent_seconds: Known;
  draining: boolean;
  running: number;
  slots: number;
  load: number;
  lanes: string[];
  volumes: Record<string, { proven: boolean; reason: string | null }>;
  client_url: string;
  started_at: string | null;
}
export interface UploadRow {
  id: string;
  vfolder: string;
  path: string | null;
  offset: number;
  length: Known;
  is_written: boolean;
  subject: string | null;
  node: string | null;
  idle_seconds: number;
}
export interface AuditLine {
  at: string;
  act: string;
  decision: "allowed" | "refused";
  subject?: string;
  on_behalf_of?: string;
  credential?: string;
  from?: string;
  vfolder?: string;
  path?: string;
  target?: string;
  job_id?: string;
  need?: string;
  have?: string;
  via?: string;
  reason?: string;
  request_id?: string;
  before?: unknown;
  after?: unknown;
}
export interface Rescan {
  /** The job that found it; its report names each. */
  job?: string;
  as_of: string;
  scopes: number;
  complete: boolean;
  drifted: number;
  found: Record<string, number>;
  repaired: Record<string, number>;
  drift: Array<{ scope: string; drift_bytes?: number }>;
}
export interface Setting {
  key: string;
  value: string;
  source: string;
  waits: boolean;
}
