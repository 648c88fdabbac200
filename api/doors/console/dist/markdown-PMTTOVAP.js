import{a}from"./chunk-IGQHVSGW.js";import"./chunk-ORCOCCC5.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
