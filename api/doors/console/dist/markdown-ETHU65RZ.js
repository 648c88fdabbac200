import{a}from"./chunk-A2C3JQMB.js";import"./chunk-BRPCALVT.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
