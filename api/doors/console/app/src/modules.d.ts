/** What the console uses of tus-js-client, whose file `api/http/vendored` has. */
declare module "tus-js-client" {
  export interface UploadOptions {
    endpoint?: string;
    uploadUrl?: string | null;
    metadata?: Record<string, string>;
    headers?: Record<string, string>;
    chunkSize?: number;
    uploadSize?: number;
    uploadDataDuringCreation?: boolean;
    storeFingerprintForResuming?: boolean;
    removeFingerprintOnSuccess?: boolean;
    retryDelays?: number[] | null;
    onProgress?: (sent: number, total: number) => void;
    onSuccess?: () => void;
    onError?: (error: Error) => void;
    onShouldRetry?: (error: DetailedError, attempt: number) => boolean;
    onUploadUrlAvailable?: () => void;
    onBeforeRequest?: (request: HttpRequest) => void;
    fingerprint?: () => Promise<string>;
  }
  export interface HttpRequest {
    getMethod(): string;
    getURL(): string;
    setHeader(name: string, value: string): void;
  }
  export interface HttpResponse {
    getStatus(): number;
    getHeader(name: string): string | undefined;
    getBody(): string;
  }
  export interface DetailedError extends Error {
    originalRequest?: HttpRequest;
    originalResponse?: HttpResponse | null;
    causingError?: Error | null;
  }
  export interface PreviousUpload {
    uploadUrl: string | null;
  }
  export class Upload {
    constructor(file: Blob, options: UploadOptions);
    url: string | null;
    start(): void;
    abort(terminate?: boolean): Promise<void>;
    findPreviousUploads(): Promise<PreviousUpload[]>;
    resumeFromPreviousUpload(upload: PreviousUpload): void;
  }
  const tus: { Upload: typeof Upload };
  export default tus;
}
