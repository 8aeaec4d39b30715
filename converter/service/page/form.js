// A form out of a JSON schema of options, and the options out of the form.
const make = (name, given = {}, ...children) => {
  const made = Object.assign(document.createElement(name), given);
  made.append(...children);
  return made;
};

function field(id, spec) {
  const shown = spec.default === undefined ? "" : ` (${[].concat(spec.default).join(", ") || "none"})`;
  if (spec.enum || spec.type === "boolean") {
    const values = spec.enum ?? [true, false];
    const first = make("option", { value: "", textContent: `default${shown}` });
    const others = values.map((one) => make("option", { value: JSON.stringify(one), textContent: String(one) }));
    return make("select", { id }, first, ...others);
  }
  if (spec.format === "upload") return make("input", { id, type: "file" });
  const isNumber = spec.type === "integer" || spec.type === "number";
  return make("input", {
    id,
    type: isNumber ? "number" : "text",
    step: spec.type === "integer" ? "1" : "any",
    ...(spec.minimum === undefined ? {} : { min: spec.minimum }),
    ...(spec.maximum === undefined ? {} : { max: spec.maximum }),
    placeholder: isNumber || spec.type === "string" ? `default${shown}` : `values, with commas${shown}`,
  });
}

export function build(place, schema) {
  place.replaceChildren();
  for (const [name, spec] of Object.entries(schema.properties)) {
    if (name === "calibration.path") continue; // it has a field of its own
    const id = `option-${name}`;
    const help = make("p", { id: `${id}-help`, textContent: spec.description });
    const input = field(id, spec);
    input.dataset.key = name;
    input.dataset.type = spec.type ?? "";
    input.setAttribute("aria-describedby", help.id);
    const unit = spec["x-unit"] ? `, ${spec["x-unit"]}` : "";
    place.append(make("div", {}, make("label", { htmlFor: id, textContent: name + unit }), input, help));
  }
}

const asJson = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};

// Values by key, and files by key.
export function read(place, more) {
  const values = {};
  const files = {};
  for (const input of place.querySelectorAll("[data-key]")) {
    const name = input.dataset.key;
    if (input.type === "file") {
      if (input.files[0]) files[name] = input.files[0];
    } else if (input.value !== "") {
      const isList = input.dataset.type === "array";
      values[name] = isList ? input.value.split(",").map((one) => asJson(one.trim())) : asJson(input.value);
      if (input.dataset.type === "string" && input.localName === "input") values[name] = input.value;
    }
  }
  for (const line of more.split("\n").filter((one) => one.trim())) {
    const [name, ...rest] = line.split("=");
    values[name.trim()] = asJson(rest.join("=").trim());
  }
  return { values, files };
}
