// What a page holds of a run: columns of values, thumbnails, failures. All of it is read, nothing is fetched.

export type Cell = string | number | null;

export interface Failure {
  row: string;
  error: string;
  message: string;
  when: string;
  attempts: number;
  about: string;
}

interface Packed {
  name: string;
  values?: Cell[];
  dict?: Cell[];
  codes?: number[];
}

interface Raw {
  title: string;
  directory: string;
  when: string;
  rows: number;
  left: number | null;
  columns: Packed[];
  constants: Record<string, Cell>;
  axes: string[];
  params: string[];
  json: string[];
  thumbs: { inline: (string | null)[]; beside: string | null; served: boolean };
  failures: Failure[];
  bins: { start: number; seconds: number; counts: number[] };
  job: string;
}

export interface Column {
  name: string;
  label: string;
  numeric: boolean;
  /** Distinct values in their order, and for each row which it is; of columns with few of them. */
  dict: Cell[];
  codes: Int32Array;
}

export interface Run extends Omit<Raw, "columns"> {
  columns: Map<string, Column>;
  names: string[];
}

export async function unpack(text: string): Promise<Run> {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  return decode(bytes);
}

export async function decode(bytes: Uint8Array<ArrayBuffer>): Promise<Run> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const raw = JSON.parse(await new Response(stream).text()) as Raw;
  const columns = new Map<string, Column>();
  for (const packed of raw.columns) columns.set(packed.name, column(packed, raw.rows));
  return { ...raw, columns, names: raw.columns.map((one) => one.name) };
}

export const label = (name: string): string => name.replace(/^field_/, "");

function column(packed: Packed, rows: number): Column {
  const dict = packed.dict ?? [...new Set(packed.values)];
  let codes: Int32Array;
  if (packed.codes) codes = Int32Array.from(packed.codes);
  else {
    const place = new Map(dict.map((value, at) => [value, at]));
    codes = Int32Array.from({ length: rows }, (_, at) => place.get(packed.values![at]!)!);
  }
  const order = dict.map((_, at) => at);
  const numbers = dict.map(number);
  const numeric = dict.some((value) => value !== null) && dict.every((value, at) => value === null || numbers[at] !== null);
  // Values in the order that people expect; those that are missing last.
  order.sort((one, other) => {
    const [a, b] = [dict[one]!, dict[other]!];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    if (numeric) return numbers[one]! - numbers[other]!;
    return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;
  });
  const rank = new Int32Array(dict.length);
  order.forEach((old, now) => (rank[old] = now));
  for (let at = 0; at < codes.length; at++) codes[at] = rank[codes[at]!]!;
  return { name: packed.name, label: label(packed.name), numeric, dict: order.map((old) => dict[old]!), codes };
}

export function number(value: Cell): number | null {
  if (typeof value === "number") return value;
  if (value === null || value.trim() === "") return null;
  const found = Number(value);
  return Number.isFinite(found) ? found : null;
}

export function cell(run: Run, name: string, row: number): Cell {
  const found = run.columns.get(name);
  if (found) return found.dict[found.codes[row]!] ?? null;
  return run.constants[name] ?? null;
}

export function shown(value: Cell): string {
  if (value === null) return "none";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(7)));
  return value === "" ? "(empty)" : value;
}

export function thumb(run: Run, row: number): string {
  const inline = run.thumbs.inline[row];
  if (inline) return inline;
  const name = cell(run, "row", row);
  if (run.thumbs.served) return `thumbs/${name}.webp`;
  return run.thumbs.beside ? `${run.thumbs.beside}/${name}.webp` : picture(run, row);
}

/** The picture itself, from the page's own folder. */
export function picture(run: Run, row: number): string {
  return String(cell(run, "path", row) ?? "").split("/").map(encodeURIComponent).join("/");
}
