// Which rows are shown, and in which order.
import { number, type Column, type Run } from "./data";

export const FACET_VALUES = 40;

export interface Choice {
  /** Codes of a column that are wanted; none are all. */
  codes: Map<string, Set<number>>;
  /** Bounds of a numeric column with many values. */
  spans: Map<string, [number | null, number | null]>;
  query: string;
  sort: string;
  down: boolean;
}

export const nothing = (): Choice => ({ codes: new Map(), spans: new Map(), query: "", sort: "", down: false });

export const SEARCHED = ["prompt", "negative_prompt"];
/** These hold a word by chance, if it is short. */
export const NAMED = ["row", "id", "path"];
const LONG = 6;

export function facets(run: Run): { column: Column; wide: boolean }[] {
  const found = [];
  for (const name of run.axes) {
    const column = run.columns.get(name);
    if (!column || column.dict.length < 2) continue;
    if (column.dict.length <= FACET_VALUES) found.push({ column, wide: false });
    else if (column.numeric) found.push({ column, wide: true });
  }
  return found;
}

type Test = (row: number) => boolean;

function tests(run: Run, choice: Choice, without?: string): Test[] {
  const found: Test[] = [];
  for (const [name, wanted] of choice.codes) {
    const column = run.columns.get(name);
    if (column && wanted.size && name !== without) found.push((row) => wanted.has(column.codes[row]!));
  }
  for (const [name, [low, high]] of choice.spans) {
    const column = run.columns.get(name);
    if (!column || name === without || (low === null && high === null)) continue;
    const good = column.dict.map((value) => {
      const found = number(value);
      return found !== null && (low === null || found >= low) && (high === null || found <= high);
    });
    found.push((row) => good[column.codes[row]!]!);
  }
  for (const word of choice.query.toLowerCase().split(/\s+/).filter(Boolean)) found.push(search(run, word));
  return found;
}

/** A word is looked for once in each distinct text, not in each row. */
function search(run: Run, word: string): Test {
  const has: Test[] = [];
  for (const name of word.length < LONG ? SEARCHED : [...SEARCHED, ...NAMED]) {
    const column = run.columns.get(name);
    if (column) {
      const hits = column.dict.map((value) => value !== null && String(value).toLowerCase().includes(word));
      if (hits.includes(true)) has.push((row) => hits[column.codes[row]!]!);
    } else if (String(run.constants[name] ?? "").toLowerCase().includes(word)) return () => true;
  }
  return (row) => has.some((test) => test(row));
}

export function chosen(run: Run, choice: Choice): Int32Array {
  const wanted = tests(run, choice);
  const rows: number[] = [];
  for (let row = 0; row < run.rows; row++) if (wanted.every((test) => test(row))) rows.push(row);
  const column = run.columns.get(choice.sort);
  if (column) {
    const sign = choice.down ? -1 : 1;
    rows.sort((one, other) => sign * (column.codes[one]! - column.codes[other]!) || one - other);
  } else if (choice.down) rows.reverse();
  return Int32Array.from(rows);
}

/** Rows of each value of a facet, of those that the other choices leave. */
export function counts(run: Run, choice: Choice, column: Column): Int32Array {
  const wanted = tests(run, choice, column.name);
  const found = new Int32Array(column.dict.length);
  for (let row = 0; row < run.rows; row++) {
    if (wanted.every((test) => test(row))) found[column.codes[row]!]!++;
  }
  return found;
}

export const sortable = (run: Run): string[] =>
  run.names.filter((name) => name !== "a1111" && (run.columns.get(name)?.dict.length ?? 0) > 1);
