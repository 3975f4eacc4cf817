// What is chosen: a box a value, with how many rows it leaves, or two bounds where there are many.
import { counts, facets, type Choice } from "./filter";
import { number, shown, type Run } from "./data";

export function Side({ run, choice, onChoice }: { run: Run; choice: Choice; onChoice: (choice: Choice) => void }) {
  const toggle = (name: string, code: number) => {
    const codes = new Map(choice.codes);
    const held = new Set(codes.get(name));
    if (held.has(code)) held.delete(code);
    else held.add(code);
    codes.set(name, held);
    onChoice({ ...choice, codes });
  };
  const bound = (name: string, which: 0 | 1, text: string) => {
    const spans = new Map(choice.spans);
    const [low, high] = spans.get(name) ?? [null, null];
    const value = number(text);
    spans.set(name, which ? [low, value] : [value, high]);
    onChoice({ ...choice, spans });
  };
  return (
    <nav class="side-bar" aria-label="Choices">
      {facets(run).map(({ column, wide }) => {
        if (wide) {
          const [low, high] = choice.spans.get(column.name) ?? [null, null];
          const ends = column.dict.filter((value) => value !== null);
          return (
            <fieldset key={column.name}>
              <legend>{column.label}</legend>
              {([0, 1] as const).map((which) => (
                <input
                  key={which}
                  type="number"
                  step="any"
                  aria-label={`${column.label}, ${which ? "most" : "least"}`}
                  placeholder={shown(ends[which ? ends.length - 1 : 0] ?? null)}
                  value={(which ? high : low) ?? ""}
                  onInput={(event) => bound(column.name, which, event.currentTarget.value)}
                />
              ))}
            </fieldset>
          );
        }
        const found = counts(run, choice, column);
        return (
          <fieldset key={column.name}>
            <legend>{column.label}</legend>
            {column.dict.map((value, code) => (
              <label key={code} class={found[code] ? "" : "none"}>
                <input
                  type="checkbox"
                  checked={choice.codes.get(column.name)?.has(code) ?? false}
                  onChange={() => toggle(column.name, code)}
                />
                <span title={shown(value)}>{shown(value)}</span>
                <small>{found[code]!.toLocaleString()}</small>
              </label>
            ))}
          </fieldset>
        );
      })}
    </nav>
  );
}
