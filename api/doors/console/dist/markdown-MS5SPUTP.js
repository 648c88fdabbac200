import{a}from"./chunk-JJ2NKBVM.js";import"./chunk-C5HNBLJF.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
