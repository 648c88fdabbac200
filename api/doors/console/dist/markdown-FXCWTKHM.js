import{a}from"./chunk-2FJPRAUT.js";import"./chunk-Z4OUEEMR.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
