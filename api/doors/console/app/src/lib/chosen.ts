/** What a person chooses in a file field, or drops: files, and folders with all that is in them. */

export interface Found {
  path: string;
  file: File;
}
export interface Dropped {
  found: Found[];
  /** Directories with nothing in them. */
  empty: string[];
  /** Whether a directory was among what was dropped. */
  directories: boolean;
}

/** The files of a file field; a folder's files have their path in it. */
export function ofFiles(files: FileList | null): Found[] {
  return [...(files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** What was dropped; a source that is no file system, such as a script, has files alone. */
export async function ofDrop(data: DataTransfer): Promise<Dropped> {
  // Both are gone after the first wait.
  const files = ofFiles(data.files);
  const entries = [...data.items].map((one) => one.webkitGetAsEntry()).filter((one) => one !== null);
  if (!entries.length) return { found: files, empty: [], directories: false };
  const found: Found[] = [];
  const empty: string[] = [];
  for (const entry of entries) await walk(entry, entry.name, found, empty);
  return { found, empty, directories: entries.some((one) => one.isDirectory) };
}

async function walk(entry: FileSystemEntry, path: string, found: Found[], empty: string[]): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((good, bad) => (entry as FileSystemFileEntry).file(good, bad));
    found.push({ path, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  let any = false;
  for (;;) {
    // A directory is read in parts.
    const part = await new Promise<FileSystemEntry[]>((good, bad) => reader.readEntries(good, bad));
    if (!part.length) break;
    any = true;
    for (const one of part) await walk(one, `${path}/${one.name}`, found, empty);
  }
  if (!any) empty.push(path);
}
