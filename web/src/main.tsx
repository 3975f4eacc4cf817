import { render } from "preact";
import { App } from "./app";
import { unpack } from "./data";

const root = document.getElementById("app")!;
unpack(document.getElementById("data")!.textContent!).then(
  (run) => render(<App first={run} />, root),
  (error: unknown) => {
    root.textContent = `This page cannot be shown: ${String(error)}`;
    throw error;
  },
);
