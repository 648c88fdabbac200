import{a}from"./chunk-IIIODPIC.js";import"./chunk-OQMYVIXZ.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
