import{a}from"./chunk-RWXI3EJO.js";import"./chunk-OQV6HUGK.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
