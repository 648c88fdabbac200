import{a}from"./chunk-ZNMEUFYE.js";import"./chunk-7DACSWRU.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
