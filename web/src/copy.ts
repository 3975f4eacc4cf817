// What is handed on of a row: a job that makes it again, and AUTOMATIC1111's text.
import { cell, type Run } from "./data";

/** YAML of one row; each value is JSON, which YAML reads. */
export function asJob(run: Run, row: number): string {
  const lines = [`name: ${JSON.stringify(`${run.title}-${String(cell(run, "row", row)).slice(0, 8)}`)}`];
  for (const name of run.params) {
    const value = cell(run, name, row);
    if (value === null) continue;
    const text = run.json.includes(name) && typeof value === "string" ? value : JSON.stringify(value);
    lines.push(`${name}: ${text}`);
  }
  return lines.join("\n") + "\n";
}

export const asParameters = (run: Run, row: number): string => String(cell(run, "a1111", row) ?? "");

export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
