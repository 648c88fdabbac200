import{a}from"./chunk-C636DOBT.js";import"./chunk-SV2FJJF3.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
